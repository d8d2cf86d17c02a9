"""A figure leaves as a PNG, and as an SVG whose colours and font are the page's and whose ids do not clash."""

import re
import xml.etree.ElementTree as ET

from transface.plots import (
    CSS_NAMES,
    SERIES,
    add_legend,
    blank_figure,
    label_axes,
    line_style,
    power_of_ten_axis,
    to_png,
    to_svg,
)


def drawn():
    figure, (ax,) = blank_figure()
    ax.plot([1e-4, 1], [0, 1], label="a & <b>", **line_style(0))
    ax.fill_between([1e-4, 1], [0, 0.5], [0.5, 1], color=SERIES[1], alpha=0.2)
    ax.set_xscale("log")
    power_of_ten_axis(ax.xaxis)
    label_axes(ax, x="false accept rate", y="true accept rate", title="ROC")
    add_legend(ax)
    return figure


def test_svg_is_well_formed_and_keeps_its_words() -> None:
    svg = to_svg(drawn(), prefix="p1")
    words = "".join(ET.fromstring(svg).itertext())
    for word in ("false accept rate", "ROC", "a & <b>", "1e-4"):
        assert word in words


def test_svg_takes_colours_and_font_from_the_page() -> None:
    svg = to_svg(drawn(), prefix="p1")
    assert "var(--ink)" in svg
    assert "var(--series-0)" in svg
    assert not [colour for colour in CSS_NAMES if colour in svg]
    assert "DejaVu" not in svg
    assert "<style" not in svg


def test_ids_of_two_svgs_do_not_clash_and_references_resolve() -> None:
    one, two = to_svg(drawn(), prefix="p1"), to_svg(drawn(), prefix="p2")
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, two)]
    assert not ids[0] & ids[1]
    used = set(re.findall(r'(?:xlink:href="|url\()#([^")]+)', one))
    assert used
    assert used <= ids[0]


def test_a_figure_is_the_same_bytes_each_time() -> None:
    assert to_svg(drawn(), prefix="p") == to_svg(drawn(), prefix="p")
    assert to_png(drawn()) == to_png(drawn())
    assert to_png(drawn()).startswith(b"\x89PNG")


def test_curves_differ_in_more_than_colour() -> None:
    assert line_style(0)["linestyle"] != line_style(1)["linestyle"]
    assert line_style(0)["color"] == line_style(len(SERIES))["color"]
