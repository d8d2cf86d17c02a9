"""The section of a report that says what was trained: network, data, steps, time."""

from collections.abc import Mapping, Sequence
from typing import Any

from transface.reports.page.document import Cell, Row, Section, Table
from transface.reports.reading.runs import Run

COLUMNS = ("Network", "Parameters", "Image", "Trained on", "Steps", "Time")


def trained_section(runs: Sequence[Run]) -> list[Section]:
    """Return the section with a row a run: [] where none says what it trained."""
    told = [run for run in runs if run.trained]
    if not told:
        return []
    rows = tuple(Row(run.label, tuple(map(Cell, trained_cells(run.trained, run.config)))) for run in told)
    return [Section("What was trained", (Table("Network, data, steps", ("Run", *COLUMNS), rows),))]


def trained_cells(trained: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Return the cells of a run; what is not told is empty."""
    parameters, trainable = trained.get("parameters"), trained.get("trainable_parameters")
    frozen = f" ({trainable:,} of them trained)" if trainable not in (None, parameters) else ""
    data = [
        f"{trained[name]:,} {word}"
        for name, word in (("images", "images"), ("identities", "people"))
        if name in trained
    ]
    steps = trained.get("steps")
    count = trained.get("epochs")
    epochs = "" if count is None else f", {count} epoch{'s' if count != 1 else ''}"
    batch = trained.get("images_per_step")
    if batch is None:  # of a run before this was told
        data_settings = config.get("data")
        batch = data_settings.get("total_batch_size") if isinstance(data_settings, Mapping) else None
    of_batch = f", each of {batch:,} images" if isinstance(batch, int) else ""
    return [
        str(trained.get("network", "")),
        "" if parameters is None else f"{parameters:,}{frozen}",
        " x ".join(str(side) for side in trained.get("image_size", [])),
        ", ".join(data),
        "" if steps is None else f"{steps:,}{of_batch}{epochs}",
        time_text(trained),
    ]


def time_text(trained: Mapping[str, Any]) -> str:
    """Return how long training took, on how many devices, and since when where it had been stopped."""
    seconds = trained.get("seconds")
    if seconds is None:
        return ""
    text = (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
    devices = trained.get("devices", 1)
    return (
        text
        + (f" on {devices} devices" if devices > 1 else "")
        + (" since it was resumed" if trained.get("resumed") else "")
    )
