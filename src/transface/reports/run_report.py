"""The report of one run, or of several side by side: tables, ROC, training curves, dominant patches; Markdown with
PNGs, and HTML.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from transface.artifacts import utc_now
from transface.evaluation.results import Result
from transface.plots import to_png
from transface.reports.attributes.attribute_bars import attribute_sections
from transface.reports.page.document import Document, Picture, Plot, Section
from transface.reports.page.html import write_html
from transface.reports.page.markdown import write_markdown
from transface.reports.reading.runs import Run, read_mapping, read_run, set_keys, unused
from transface.reports.reading.traces import Trace
from transface.reports.recognition.hard_pairs import ImageSource
from transface.reports.recognition.pair_section import all_sets_section
from transface.reports.sections.method_section import method_section
from transface.reports.sections.result_sections import provenance_section, table_section, warning_section
from transface.reports.sections.trained_section import trained_section
from transface.reports.sections.training_curves import training_figures, trainings_figures, validated_by
from transface.reports.set_sections import set_sections
from transface.training.logging.pictures import CAPTIONS

FORMATS = ("html", "md")
PICTURES = "pictures"  # of a run


def write_run_report(
    run_folder: str | Path,
    results: Sequence[Result] | None = None,
    *,
    pictures: Mapping[str, Figure | bytes] | None = None,
    images: Mapping[str, ImageSource] | None = None,
    formats: Sequence[str] = FORMATS,
    output: str | Path | None = None,
) -> Path:
    """Write <run>/report/report.md, its PNGs and report.html, and return the path of report.md (of the HTML if only
    that is made).

    Args:
        run_folder: holds metrics.csv, config.yaml, environment.json; any may be missing.
        results: what to report; None reads <run>/results/*.json.
        pictures: by name, a figure or PNG bytes, besides those that lie in <run>/pictures.
        images: images of pair sets by the set's name, for the hardest pairs, where the results hold no thumbnails.
        formats: "html", "md" or both.
        output: another folder than <run>/report.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if there is nothing to report, or a format is unknown.
    """
    run = read_run(run_folder, results)
    folder = Path(run_folder) / "report"
    return write_report(run_document(run, pictures=pictures, images=images), output or folder, formats=formats)


def write_comparison(
    runs: Sequence[Run],
    folder: str | Path,
    *,
    images: Mapping[str, ImageSource] | None = None,
    formats: Sequence[str] = FORMATS,
) -> Path:
    """Write the report of several runs side by side into a folder; arguments, result and errors as in
    `write_run_report`.
    """
    return write_report(comparison_document(runs, images=images), folder, formats=formats)


def write_report(
    document: Document, folder: str | Path, *, formats: Sequence[str] = FORMATS, stem: str = "report"
) -> Path:
    """Write a document as <stem>.html and/or <stem>.md into a folder and return the Markdown's path, else the
    HTML's.
    """
    check_formats(formats)
    page = write_html(document, Path(folder) / f"{stem}.html") if "html" in formats else None
    text = write_markdown(document, Path(folder) / f"{stem}.md") if "md" in formats else None
    written = text or page
    assert written is not None
    return written


def check_formats(formats: Sequence[str]) -> None:
    """Raise ValueError for formats that are none or unknown."""
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"format must be html, md or html,md, got {','.join(formats) or 'nothing'}")


def run_document(
    run: Run, *, pictures: Mapping[str, Figure | bytes] | None = None, images: Mapping[str, ImageSource] | None = None
) -> Document:
    """Return the report of one run.

    Raises:
        ValueError: if the run has no results and no metrics.
    """
    training = training_section(run)
    if not run.results and not training:
        raise ValueError(f"nothing to report of {run.folder or run.label}: it has no results/*.json and no metrics.csv")
    sections = [
        *trained_section([run]),
        *warning_section([run]),
        *table_section([run]),
        *attribute_sections(run),
        *all_sets_section(run),
        *training,
        *run_pictures(run.folder),
        *picture_sections(pictures or {}),
        *method_section(run),
        *set_sections([run], images=images),
        provenance_section([run]),
    ]
    return Document(f"Run {run.label}", subtitle([run]), tuple(sections))


def comparison_document(runs: Sequence[Run], *, images: Mapping[str, ImageSource] | None = None) -> Document:
    """Return the report of several runs side by side.

    Raises:
        ValueError: if none of them has results or training curves.
    """
    training = trainings_section(runs)
    if not training and not any(run.results for run in runs):
        names = ", ".join(str(run.folder or run.label) for run in runs)
        raise ValueError(f"nothing to compare: none of {names} has results/*.json or a metrics.csv with a loss")
    sections = [
        *trained_section(runs),
        *warning_section(runs),
        *table_section(runs),
        *set_sections(runs, images=images),
        *training,
        provenance_section(runs),
    ]
    return Document(" / ".join(run.label for run in runs), subtitle(runs), tuple(sections))


def subtitle(runs: Sequence[Run]) -> str:
    """Return the line below the title."""
    results = sum(len(run.results) for run in runs)
    made = f"{results} result{'s' if results != 1 else ''}" + (f" of {len(runs)} runs" if len(runs) > 1 else "")
    return f"Report of transface, {made}, made {utc_now().replace('T', ' ').replace('+00:00', ' UTC')}"


def training_section(run: Run) -> list[Section]:
    """Return the section with loss and monitored measure over steps: [] where nothing was logged."""
    sets = [key.name for key in set_keys(run.results)]
    return training_plots(training_figures(run.traces, sets=sets, measure=validated_by(run)), f"of {run.label}")


def trainings_section(runs: Sequence[Run]) -> list[Section]:
    """Return the section with loss and monitored measure over steps of several runs: [] where nothing was logged."""
    named: dict[str, dict[str, Trace]] = {}
    for run in runs:
        named[unused(run.label, named)] = run.traces
    return training_plots(trainings_figures(named, validated_by(runs[0])), f"of {', '.join(named)}")


def training_plots(figures: Mapping[str, Figure], whose: str) -> list[Section]:
    """Return the section of the figures over training: [] where there are none."""
    plots = []
    for name, figure in figures.items():
        what = "Training loss" if name == "loss" else f"Validation {name}"
        plots.append(Plot(figure, f"training_{name}", f"{what} {whose} over the steps."))
    return [Section("Training", tuple(plots))] if plots else []


def run_pictures(folder: Path | None) -> list[Section]:
    """Return a section for each picture that the run's method drew: <run>/pictures/<name>.png with captions.json."""
    if folder is None:
        return []
    captions = read_mapping(folder / PICTURES / CAPTIONS)
    sections = []
    for path in sorted((folder / PICTURES).glob("*.png")):
        told = captions.get(path.stem) or {}
        sections.append(
            picture_section(path.stem, path.read_bytes(), title=told.get("title", ""), caption=told.get("caption", ""))
        )
    return sections


def picture_sections(pictures: Mapping[str, Figure | bytes]) -> list[Section]:
    """Return a section for each picture."""
    return [
        picture_section(name, picture if isinstance(picture, bytes) else to_png(picture))
        for name, picture in pictures.items()
    ]


def picture_section(name: str, png: bytes, *, title: str = "", caption: str = "") -> Section:
    """Return the section of one picture."""
    title = title or name.replace("_", " ").capitalize()
    return Section(title, (Picture(png, name, caption or title, caption),))
