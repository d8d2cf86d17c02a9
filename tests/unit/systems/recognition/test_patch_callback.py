"""The picture of dominant patches at the end of training: of different people, with the settings of the run."""

import json
import logging
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.unit.systems.recognition.test_patch_picture import LeftIsImportant, faces

from transface.data.batches import FaceBatch
from transface.systems.recognition import patch_callback
from transface.systems.recognition.dpap import DPAP
from transface.systems.recognition.patch_callback import PatchPictures, faces_of_different_people

TRAINER: Any = SimpleNamespace(is_global_zero=True, precision_plugin=SimpleNamespace(forward_context=nullcontext))


def module_of(backbone: Any, perturbation: Any = None) -> Any:
    return SimpleNamespace(evaluated_network=backbone, perturbation=perturbation, device=torch.device("cpu"))


def trained(callback: PatchPictures, module: Any, *, batch: Any = None) -> None:
    keys = torch.arange(8)
    whole = FaceBatch(faces(8), keys // 2, keys)
    for number in range(2):
        callback.on_train_batch_start(TRAINER, module, whole if batch is None else batch, number)
    callback.on_fit_end(TRAINER, module)


def test_the_picture_has_the_settings_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    real = patch_callback.perturbed_faces

    def noted(backbone: Any, images: torch.Tensor, **settings: Any) -> Any:
        asked.append({**settings, "images": images})
        return real(backbone, images, **settings)

    monkeypatch.setattr(patch_callback, "perturbed_faces", noted)
    dpap = DPAP(num_patches=5, alpha=0.4, quantize=True)
    trained(PatchPictures(tmp_path / "pictures"), module_of(LeftIsImportant(), dpap))
    backbone = LeftIsImportant().train()
    trained(PatchPictures(tmp_path / "plain"), module_of(backbone))
    assert backbone.training
    first, second = asked
    assert torch.equal(first.pop("images"), faces(8)[[0, 2, 4, 6, 1]])
    assert first == {"num_patches": [5], "alpha": 0.4, "quantize": True}
    assert second["num_patches"] == [7, 15]
    assert (tmp_path / "pictures" / "dominant_patches.png").read_bytes()[:4] == b"\x89PNG"
    told = json.loads((tmp_path / "pictures" / "captions.json").read_text())
    assert told["dominant_patches"]["title"] == "Dominant patches"


def test_the_first_of_several_sets_gives_the_faces(tmp_path: Path) -> None:
    keys = torch.arange(3)
    trained(PatchPictures(tmp_path), module_of(LeftIsImportant()), batch={"a": FaceBatch(faces(3), keys, keys)})
    assert (tmp_path / "dominant_patches.png").is_file()


def test_a_backbone_that_ranks_no_patches_has_no_picture(tmp_path: Path) -> None:
    class Bare(LeftIsImportant):
        def patch_importance(self, images: torch.Tensor) -> Any:
            return None

    trained(PatchPictures(tmp_path), module_of(Bare()))
    trained(PatchPictures(tmp_path), module_of(SimpleNamespace()))
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_drawn_does_not_end_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "pictures").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        trained(PatchPictures(tmp_path / "pictures"), module_of(LeftIsImportant()))
    assert "no picture of dominant patches: FileExistsError" in caplog.text


def test_different_people_come_first() -> None:
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 3, 2, 2)
    chosen = faces_of_different_people(images, torch.tensor([4, 4, 9, 4, 1]), 4)
    assert chosen[:, 0, 0, 0].tolist() == [0, 2, 4, 1]
