"""Every experiment, variant, sweep, debug, callback, logger and trainer config composes, builds and trains for two
steps on made-up faces.

Networks and batches are shrunk, nothing else is changed: a key that is not there, a part that cannot be built, a name
that is misspelt fails.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from lightning.pytorch.callbacks import Timer
from omegaconf import DictConfig

from transface.cli.config.compose import compose, conf_folder, plain, refuse_missing, refuse_unknown
from transface.cli.runs.loggers import close_loggers
from transface.cli.train import train
from transface.synthetic.datasets import write_identity_pack, write_pair_sets

CONF = conf_folder()
SMALL = (
    "+backbone.depth=1",
    "+backbone.embed_dim=16",
    "+backbone.num_heads=2",
    "data.total_batch_size=8",
    "data.num_workers=0",
    "trainer.accelerator=cpu",
    "trainer.strategy=auto",
    "trainer.precision=32-true",
    "devices=1",
    "trainer.max_steps=2",
    "schedule.warmup_epochs=0",
)
QUIET = ("logger=csv", "~callbacks.progress", "report=false")


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight people x four images, and sets of twenty pairs."""
    root = tmp_path_factory.mktemp("faces")
    write_identity_pack(root, 8, images_per_identity=4)
    write_pair_sets(root, 20, num_identities=4)
    return root


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def composed(faces: Path, *words: str) -> DictConfig:
    """Return a config made small; a key that an experiment sets already is overridden, not added."""
    fitting = [*words, f"data.root={faces}", f"protocol.files=[{faces / 'easy.bin'}]"]
    there = plain_keys(compose("train", fitting))
    small = [word.lstrip("+") if word.lstrip("+").partition("=")[0] in there else word for word in SMALL]
    small = [word for word in small if not word.startswith("schedule.") or "schedule.warmup_epochs" in there]
    quiet = [word for word in QUIET if not any(given.startswith(word.split("=")[0] + "=") for given in words)]
    cfg = compose("train", [*fitting, *small, *quiet])
    refuse_missing(cfg)
    refuse_unknown(cfg, "train")
    return cfg


def plain_keys(cfg: DictConfig, prefix: str = "") -> set[str]:
    found = set()
    for key, value in cfg.items_ex(resolve=False):
        found.add(f"{prefix}{key}")
        if isinstance(value, DictConfig) and not value._is_none() and not value._is_interpolation():
            found |= plain_keys(value, f"{prefix}{key}.")
    return found


def test_shrinking_touches_only_what_it_says(faces: Path) -> None:
    cfg = composed(faces, "experiment=transface/vit_s_ms1mv2")
    assert (cfg.backbone.depth, cfg.data.total_batch_size, cfg.optimizer.lr, cfg.trainer.max_epochs) == (1, 8, 1e-3, 35)


@pytest.mark.parametrize("name", options("experiment"))
def test_every_experiment_trains_and_is_verified(name: str, faces: Path, runs: Path) -> None:
    value = train(composed(faces, f"experiment={name}"))
    assert value is not None
    assert 0 <= value <= 1
    folder = runs / "runs" / name
    assert (folder / "checkpoints" / "last" / "trainer.ckpt").is_file()
    assert "val/mean/accuracy" in (folder / "metrics.csv").read_text().splitlines()[0]
    assert [path.name for path in (folder / "results").glob("*.json")] == ["pair_sets_easy_F1.json"]
    assert {"versions", "commit", "command"} <= set(json.loads((folder / "environment.json").read_text()))


@pytest.mark.parametrize("name", options("variant"))
def test_every_variant_of_the_method_trains(name: str, faces: Path, runs: Path) -> None:
    cfg = composed(faces, "experiment=transface/vit_t_pack", f"variant={name}")
    assert cfg.variant == name
    assert train(cfg) is not None


@pytest.mark.parametrize("name", options("debug"))
def test_every_debug_config_trains(name: str, faces: Path, runs: Path) -> None:
    cfg = composed(faces, "experiment=transface/vit_t_pack", f"debug='{name}'")
    if name == "overfit":
        assert cfg.data.order.num_samples == 64
        cfg.data.order.num_samples = 32  # as many as there are
    if name == "profile":
        cfg.trainer.max_steps = 6
    if name == "learning_rate":
        cfg.trainer.max_steps, cfg.callbacks.learning_rate_range.num_steps = 20, 12
    train(cfg)
    folder = runs / "runs" / "debug" / "transface_vit_t_pack"
    assert (folder / "checkpoints" / "last" / "trainer.ckpt").is_file() == (name != "learning_rate")
    if name == "learning_rate":
        assert len((folder / "learning_rates.csv").read_text().splitlines()) == 13
        assert (folder / "learning_rates.png").is_file()
    if name == "profile":
        assert (folder / "profile" / "trace.json").is_file()
        assert "aten::" in (folder / "profile" / "slowest_parts.txt").read_text()


@pytest.mark.parametrize("name", [name for name in options("callbacks") if name != "default"])
def test_every_callback_config_trains(name: str, faces: Path, runs: Path) -> None:
    whole = "defaults:" in (CONF / "callbacks" / f"{name}.yaml").read_text()
    cfg = composed(
        faces, "experiment=transface/vit_t_pack", f"callbacks={name}" if whole else f"callbacks=[default,{name}]"
    )
    assert train(cfg) is not None
    if name == "method":
        pictures = {path.parent.name for path in (runs / "runs" / "transface_vit_t_pack" / "method").rglob("*.png")}
        assert pictures == {"distributions", "dominant_patches", "perturbed_faces"}
        assert "method/gate_mean" in (runs / "runs" / "transface_vit_t_pack" / "metrics.csv").read_text()


@pytest.mark.parametrize("name", options("logger"))
def test_every_logger_config_logs(name: str, faces: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    if name in ("wandb", "mlflow"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install {name}")
    assert (
        train(
            composed(
                faces, "experiment=transface/vit_t_pack", f"logger={name}", "trainer.log_every_n_steps=1", "report=true"
            )
        )
        is not None
    )
    close_loggers()
    folder = runs / "runs" / "transface_vit_t_pack"
    assert (folder / "metrics.csv").is_file() == (name not in ("none", "tensorboard"))
    assert bool(list(folder.glob("tensorboard/events*"))) == ("tensorboard" in name)
    assert (folder / "report" / "report.html").is_file()
    if name in ("wandb", "mlflow"):
        assert (folder / f".{'WandbLogger' if name == 'wandb' else 'MLflowRun'}.run").read_text().strip()


def test_early_stopping_stops_a_run_that_gets_no_better(faces: Path, runs: Path) -> None:
    cfg = composed(
        faces, "experiment=transface/vit_t_pack", "callbacks=[default,early_stopping]", "checkpoint.every_n_steps=null"
    )
    cfg.callbacks.early_stopping.update(patience=1, min_delta=1.0)
    cfg.trainer.max_steps = -1
    train(cfg)
    steps = {path.name for path in (runs / "runs" / "transface_vit_t_pack" / "checkpoints").glob("step-*")}
    assert max(steps) == "step-000000008"  # four batches an epoch; the second epoch is not better than the first by 1


def test_a_time_budget_reaches_the_trainer(faces: Path, runs: Path) -> None:
    from transface.cli.train import build_trainer

    timers = [
        part for part in build_trainer(composed(faces, "time_budget=00:11:30:00")).callbacks if isinstance(part, Timer)
    ]
    assert [timer.time_remaining() for timer in timers] == [11.5 * 3600]


def trials_of(name: str) -> Iterator[list[str]]:
    """Return the overrides of a sweep's trials; of an interval its two ends."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", [f"sweep={name}", "data.root=x"], return_hydra_config=True)
    assert str(cfg.hydra.mode) == "RunMode.MULTIRUN"
    parser = OverridesParser.create()
    columns = []
    for key, text in cfg.hydra.sweeper.params.items():
        override = parser.parse_override(f"{key}={text}")
        assert override.is_sweep_override(), f"{key}={text} of sweep={name} sweeps nothing"
        if override.is_interval_sweep():
            interval: Any = override.value()
            columns.append([f"{key}={interval.start}", f"{key}={interval.end}"])
        else:
            columns.append([f"{key}={value}" for value in override.sweep_string_iterator()])
    return map(list, itertools.product(*columns))


@pytest.mark.parametrize("name", options("sweep"))
def test_every_sweep_changes_something_that_is_there(name: str, faces: Path, runs: Path) -> None:
    trials = list(trials_of(name))
    assert len(trials) > 1
    words = ["experiment=transface/vit_t_pack", f"sweep={name}", f"data.root={faces}"]
    cfg = composed(faces, *words[:2], *trials[0])
    assert plain(compose("train", [*words, *trials[-1]])) != plain(compose("train", [*words, *trials[0]]))
    assert train(cfg) is not None


@pytest.mark.parametrize("name", options("trainer"))
def test_every_trainer_config_builds_a_trainer(name: str, faces: Path) -> None:
    from transface.cli.train import build_trainer

    cfg = compose(
        "train", [f"trainer={name}", "trainer.accelerator=cpu", "devices=1", f"data.root={faces}", "logger=none"]
    )
    trainer = build_trainer(cfg)
    assert trainer.num_nodes == 1
    assert trainer.max_epochs == 20


@pytest.mark.parametrize("name", ["slurm", "local"])
def test_every_launcher_config_composes(name: str) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose(
            "train", [f"hydra/launcher={name}", "devices=8", "num_nodes=2", "data.root=x"], return_hydra_config=True
        )
    launcher = plain(cfg.hydra.launcher)
    assert launcher["timeout_min"] > 60
    if name == "slurm":
        assert (launcher["nodes"], launcher["tasks_per_node"], launcher["gpus_per_node"]) == (2, 8, 8)


@pytest.mark.parametrize("name", options("augmentation"))
def test_every_augmentation_trains(name: str, faces: Path, runs: Path) -> None:
    cfg = composed(faces, "experiment=transface/vit_t_pack", f"augmentation={name}")
    assert (cfg.augmentation is None) == (name == "none")
    assert train(cfg) is not None


def test_augmentations_follow_each_other_as_named(faces: Path, runs: Path) -> None:
    cfg = composed(
        faces,
        "experiment=transface/vit_t_pack",
        "augmentation=[erasing,blur,mixup]",
        "augmentation.blur.probability=1.0",
    )
    assert [key for key in cfg.augmentation if key != "_target_"] == ["erasing", "blur"]
    assert cfg.mixup.alpha == 0.2
    assert train(cfg) is not None


@pytest.mark.parametrize("name", options("order"))
def test_every_order_trains(name: str, faces: Path, runs: Path) -> None:
    small = {
        "class_balanced": ["order.classes_per_batch=4", "order.images_per_class=2"],
        "in_blocks": ["order.block_size=4"],
    }
    assert train(composed(faces, "experiment=transface/vit_t_pack", f"order={name}", *small.get(name, []))) is not None


def test_faces_decoded_on_the_device_train_alike(faces: Path, runs: Path) -> None:
    values = [
        train(composed(faces, "experiment=transface/vit_t_pack", f"name={where}", f"data.decode={where}"))
        for where in ("workers", "device")
    ]
    assert values[0] == values[1]
    rows = [(runs / "runs" / where / "metrics.csv").read_text() for where in ("workers", "device")]
    assert len(rows[0].splitlines()) == len(rows[1].splitlines())
