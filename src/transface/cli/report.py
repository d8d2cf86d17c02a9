"""`transface report`: reports of finished runs, sweeps and ablations, made from what they left on disk."""

import os
from collections.abc import Sequence
from pathlib import Path

USAGE = """\
transface report RUN [RUN ...] [output=DIR] [format=html,md]
    One run: its tables, curves, training and the pictures of its method, into RUN/report.
    Several runs: side by side, compared pair by pair, into reports/<names>.

transface report sweep=DIR [metric=NAME] [output=DIR] [format=html,md]
    The trials below DIR: the table and the curve of the metric over the swept values, and the best setting, into
    DIR/report.

transface report ablation=DIR [baseline=NAME] [metric=NAME] [output=DIR] [format=html,md]
    The variants below DIR, several seeds each: mean, interval and paired tests against the baseline, into DIR/report.

transface report occlusion=DIR [output=DIR] [format=html,md]
    The stages of a chain below DIR: students combined, the table over seeds, paired tests, into DIR/report.

A RUN is a folder that 'transface train' or 'transface evaluate' wrote (config.yaml, metrics.csv, results/*.json).
metric=NAME: a measure ("accuracy", the mean over all sets; "lfw/accuracy", of one set) or a column of metrics.csv
    ("val/mean/accuracy").
format: html (one self-contained file), md (Markdown with PNGs beside it) or both, which is the default.
"""
OPTIONS = ("sweep", "ablation", "occlusion", "baseline", "metric", "output", "format")


def main(argv: Sequence[str]) -> int:
    """Run `transface report` and return the exit code.

    Raises:
        ValueError: for arguments that make no sense, or nothing to report.
        FileNotFoundError: for a folder that is not there.
    """
    if {"-h", "--help"} & set(argv):
        print(USAGE, end="")
        return 0
    folders, options = read_arguments(argv)
    formats = tuple(options.get("format", "html,md").split(","))
    kind = next((name for name in ("sweep", "ablation", "occlusion") if name in options), "runs")
    writers = {"sweep": report_sweep, "ablation": report_ablation, "occlusion": report_occlusion, "runs": report_runs}
    path = writers[kind](folders, options, formats)
    page = path.with_suffix(".html")
    print("\n".join(dict.fromkeys([*([str(page)] if "html" in formats else []), str(path)])))
    return 0


def read_arguments(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the folders and the key=value options of a command line.

    Raises:
        ValueError: for an unknown or repeated option, one without effect, or no folder at all.
    """
    folders: list[str] = []
    options: dict[str, str] = {}
    for word in argv:
        key, equals, value = word.partition("=")
        if word.startswith("-") or (equals and key not in OPTIONS and not Path(word).exists()):
            raise ValueError(
                f"no option {key!r} of 'transface report': there are {', '.join(f'{name}=' for name in OPTIONS)} and"
                " --help"
            )
        if not equals or key not in OPTIONS:
            folders.append(word)
        elif key in options:
            raise ValueError(f"{key}= is given twice: {options[key]!r} and {value!r}")
        else:
            options[key] = value
    check_together(folders, options)
    return folders, options


def check_together(folders: Sequence[str], options: dict[str, str]) -> None:
    """Raise ValueError where arguments do not go together."""
    chosen = [name for name in ("sweep", "ablation", "occlusion") if name in options]
    if len(chosen) > 1 or (chosen and folders):
        raise ValueError(
            f"give run folders, sweep=DIR or ablation=DIR: one of the three, got {', '.join([*folders, *chosen])}"
        )
    if not chosen and not folders:
        raise ValueError("no run to report: give a run folder (runs/demo), sweep=DIR or ablation=DIR; --help says more")
    for name, needed in (("metric", chosen and chosen != ["occlusion"]), ("baseline", "ablation" in options)):
        if name in options and not needed:
            raise ValueError(
                f"{name}= has no effect here: it goes with"
                f" {'ablation=DIR' if name == 'baseline' else 'sweep=DIR or ablation=DIR'}"
            )
    empty = [name for name, value in options.items() if not value]
    if empty:
        raise ValueError(f"{empty[0]}= needs a value")
    for folder in [*folders, *(options[name] for name in chosen)]:  # before anything slow is imported
        if not Path(folder).exists():
            if chosen:
                raise FileNotFoundError(
                    f"no folder {folder}: give the folder of a {chosen[0]}, whose runs lie below it"
                )
            raise FileNotFoundError(
                f"no run folder {folder}: give a folder that 'transface train' wrote, e.g. runs/demo"
            )


def report_runs(folders: Sequence[str], options: dict[str, str], formats: tuple[str, ...]) -> Path:
    """Write the report of one run or of several and return its path."""
    from transface.reports.reading.runs import read_run
    from transface.reports.run_report import write_comparison, write_run_report

    if len(folders) == 1:
        return write_run_report(folders[0], output=options.get("output"), formats=formats)
    runs = [read_run(folder) for folder in folders]
    together = "-and-".join(dict.fromkeys(run.label for run in runs))[:120]
    return write_comparison(runs, options.get("output") or os.path.join("reports", together), formats=formats)


def report_sweep(_: Sequence[str], options: dict[str, str], formats: tuple[str, ...]) -> Path:
    """Write the report of a sweep and return its path."""
    from transface.reports.sweep_report import write_sweep_report

    return write_sweep_report(
        options["sweep"], metric=options.get("metric"), output=options.get("output"), formats=formats
    )


def report_occlusion(_: Sequence[str], options: dict[str, str], formats: tuple[str, ...]) -> Path:
    """Write the report of a chain of stages under occlusion and return its path."""
    from transface.cli.config.compose import instantiate
    from transface.reports.occlusion.chain import write_chain_report

    return write_chain_report(options["occlusion"], build=instantiate, output=options.get("output"), formats=formats)


def report_ablation(_: Sequence[str], options: dict[str, str], formats: tuple[str, ...]) -> Path:
    """Write the report of an ablation and return its path."""
    from transface.reports.ablation_report import write_ablation_report

    return write_ablation_report(
        options["ablation"],
        baseline=options.get("baseline"),
        metric=options.get("metric"),
        output=options.get("output"),
        formats=formats,
    )
