"""`transface report`: what it writes for runs, sweeps and ablations, and one clear line for what makes no sense."""

from pathlib import Path

import pytest

from transface.cli.report import main
from transface.evaluation.results import Measure, Result, hash_samples, write_result


def write_run(folder: Path, value: float, *, seed: int = 0, **settings: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("\n".join([f"seed: {seed}", *(f"{key}: {v}" for key, v in settings.items())]))
    measures = (Measure("accuracy", value, value - 0.01, value + 0.01, 0.005), Measure("auc", 0.99))
    write_result(Result("pair_sets", "easy", "F1", measures, samples_hash=hash_samples()), folder / "results")
    return folder


def test_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "demo", 0.9)
    assert main([str(run)]) == 0
    assert capsys.readouterr().out.split() == [str(run / "report" / f"report.{kind}") for kind in ("html", "md")]
    assert "90.00 +- 0.50 [89.00, 91.00]" in (run / "report" / "report.md").read_text()
    assert (run / "report" / "report.html").is_file()


def test_output_and_format(tmp_path: Path) -> None:
    run = write_run(tmp_path / "demo", 0.9)
    assert main([str(run), f"output={tmp_path / 'out'}", "format=html"]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    assert not (run / "report").exists()


def test_several_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [str(write_run(tmp_path / name, value)) for name, value in (("a", 0.9), ("b", 0.8))]
    monkeypatch.chdir(tmp_path)
    assert main(runs) == 0
    text = (tmp_path / "reports" / "a-and-b" / "report.md").read_text()
    assert "| a | **90.00" in text
    assert "| b | 80.00" in text


def test_a_sweep(tmp_path: Path) -> None:
    for k, value in ((3, 0.8), (7, 0.9)):
        write_run(tmp_path / "sweep" / f"k={k}", value, k=k)
    assert main([f"sweep={tmp_path / 'sweep'}"]) == 0
    assert "| 7 **(best)** | 90.00 [89.00, 91.00] |" in (tmp_path / "sweep" / "report" / "report.md").read_text()


def test_an_ablation(tmp_path: Path) -> None:
    for name, value in (("plain", 0.8), ("full", 0.9)):
        write_run(tmp_path / "ablation" / name / "0", value)
    assert main([f"ablation={tmp_path / 'ablation'}", "baseline=full", "format=md"]) == 0
    assert "| full *(baseline)* |" in (tmp_path / "ablation" / "report" / "report.md").read_text()


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_option(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag]) == 0
    said = capsys.readouterr().out
    assert all(f"{option}=" in said for option in ("sweep", "ablation", "baseline", "metric", "output", "format"))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "no run to report"),
        (["--fast"], "no option '--fast'"),
        (["a", "formt=md"], "no option 'formt'"),
        (["sweep=a", "ablation=b"], "one of the three"),
        (["a", "sweep=b"], "one of the three"),
        (["a", "metric=accuracy"], "metric= has no effect"),
        (["sweep=a", "baseline=b"], "baseline= has no effect"),
        (["sweep=a", "sweep=b"], "sweep= is given twice"),
        (["sweep="], "sweep= needs a value"),
    ],
)
def test_arguments_that_make_no_sense(argv: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        main(argv)


def test_a_folder_that_is_not_there_or_a_format_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run folder"):
        main([str(tmp_path / "absent")])
    with pytest.raises(FileNotFoundError, match="no folder"):
        main([f"sweep={tmp_path / 'absent'}"])
    run = write_run(tmp_path / "demo", 0.9)
    with pytest.raises(ValueError, match="format must be"):
        main([str(run), "format=pdf"])
    with pytest.raises(ValueError, match="format must be"):
        main([str(run), str(run), "format=pdf"])


def test_a_config_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "demo", 0.9)
    (run / "config.yaml").write_text("a: [b\n c: }")
    with pytest.raises(ValueError, match=r"config\.yaml cannot be read"):
        main([str(run)])
