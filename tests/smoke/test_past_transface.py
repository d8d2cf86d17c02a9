"""What came after TransFace composes, builds and trains for two steps on made-up faces: stages, losses, KP-RPE,
registers.
"""

from pathlib import Path

import pytest

from transface.cli.config.compose import compose, refuse_missing, refuse_unknown
from transface.cli.train import train
from transface.synthetic.datasets import write_identity_pack, write_pair_sets

SMALL = (
    "backbone.depth=1",
    "backbone.embed_dim=16",
    "backbone.num_heads=2",
    "data.total_batch_size=8",
    "data.num_workers=0",
    "trainer.accelerator=cpu",
    "trainer.strategy=auto",
    "trainer.precision=32-true",
    "devices=1",
    "trainer.max_epochs=2",
    "schedule.warmup_epochs=0",
    "logger=csv",
    "~callbacks.progress",
    "report=false",
)
RUNS = {
    "lvface": ("experiment=lvface/vit_b_glint360k",),
    "lvface_one_stage": ("experiment=lvface/vit_b_glint360k", "variant=lvface/one_stage"),
    "lvface_in_two_epochs": (
        "experiment=lvface/vit_b_glint360k",
        "classifier.stages=[{from_step: 0, anchors: centers},{from_step: 2, anchors: both},{from_step: 5,"
        " sample_rate: 1.0}]",
    ),
    "webface42m": ("experiment=webface42m/vit_b",),
    "staged": ("experiment=transface/vit_t_pack", "classifier=staged"),
    "uniface": ("experiment=transface/vit_t_pack", "margin=uniface", "classifier=partial_fc"),
    "unitsface": ("experiment=transface/vit_t_pack", "classifier=unitsface"),
    "subcentres": ("experiment=transface/vit_t_pack", "classifier.num_subcenters=3"),
    "bf16_head": ("experiment=transface/vit_t_pack", "classifier.matmul_precision=bf16"),
    "registers": ("experiment=transface/vit_t_pack", "backbone.num_registers=2"),
    "kprpe": ("experiment=transface/vit_t_pack", "backbone.relative_positions=keypoints"),
}


def test_several_sets_train_a_head_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, people in (("a", 8), ("b", 5)):
        write_identity_pack(tmp_path / name, people, images_per_identity=3)
    write_pair_sets(tmp_path / "a", 20, num_identities=4)
    sets = f"{{a: {{root: {tmp_path / 'a'}, total_batch_size: 6}}, b: {{root: {tmp_path / 'b'}, total_batch_size: 4}}}}"
    small = [word for word in SMALL if not word.startswith("data.total")]
    small = [f"+{word}" if word.startswith("backbone.") else word for word in small]
    files = f"protocol.files=[{tmp_path / 'a' / 'easy.bin'}]"
    words = ["experiment=transface/vit_t_pack", "data=several", "classifier=several_heads", f"data.sets={sets}", files]
    words.append("trainer.log_every_n_steps=1")
    cfg = compose("train", [*words, *small])
    refuse_missing(cfg)
    refuse_unknown(cfg, "train")
    assert train(cfg) is not None
    header = (tmp_path / "runs" / "transface_vit_t_pack" / "metrics.csv").read_text().splitlines()[0]
    assert "train/loss/margin/a" in header
    assert "train/loss/margin/b" in header


@pytest.mark.parametrize("name", sorted(RUNS))
def test_it_trains_and_is_verified(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    faces = tmp_path / "faces"
    write_identity_pack(faces, 8, images_per_identity=3)
    write_pair_sets(faces, 20, num_identities=4)
    words = [*RUNS[name], f"data.root={faces}", f"protocol.files=[{faces / 'easy.bin'}]"]
    there = compose("train", words)
    small = [word if _is_there(there, word) else f"+{word}" for word in SMALL]
    cfg = compose("train", [*words, *small])
    refuse_missing(cfg)
    refuse_unknown(cfg, "train")
    value = train(cfg)
    assert value is not None
    assert 0 <= value <= 1


def _is_there(cfg: object, word: str) -> bool:
    key = word.partition("=")[0]
    if word.startswith("~") or "." not in key:
        return True
    for part in key.split("."):
        if part not in cfg:  # type: ignore[operator]
            return False
        cfg = cfg[part]  # type: ignore[index]
    return True
