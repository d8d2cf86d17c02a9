"""transface.load opens what we write and what others released, and never runs what lies in a file."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import transface
from transface.backbones.face_vit import FaceViT
from transface.backbones.features import FaceFeatures
from transface.backbones.iresnet import IResNet
from transface.classifiers.full_softmax import FullSoftmax
from transface.data.batches import FaceBatch
from transface.margins.cosface import CosFace
from transface.systems.recognition.module import RecognitionModule
from transface.training.optimization.optimizers import AdamW

SMALL = {"embed_dim": 16, "depth": 2, "num_heads": 2, "embedding_size": 8}
CONFIG = {
    "name": "demo",
    "seed": 3,
    "backbone": {"_target_": "transface.backbones.face_vit.FaceViT", **SMALL},
    "data": {"root": "/home/someone/ms1mv2"},
}


@pytest.fixture
def backbone() -> FaceViT:
    return FaceViT(**SMALL).eval()


@pytest.fixture
def content(backbone: FaceViT) -> dict:
    state = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    return {
        "state_dict": state | {"classifier.centers": torch.zeros(3, 8)},
        "global_step": 7,
        "transface": {"config": CONFIG, "versions": {"torch": str(torch.__version__)}},
    }


def write_run(folder: Path, content: dict) -> Path:
    checkpoint = folder / "checkpoints" / "step-000000007"
    checkpoint.mkdir(parents=True)
    torch.save(content, checkpoint / "trainer.ckpt")
    (folder / "checkpoints" / "last").symlink_to(checkpoint.name)
    return checkpoint


def test_released_weights_give_the_recorded_embeddings(shared: Path, tmp_path: Path) -> None:
    recorded = np.load(shared / "parity" / "transface" / "vit_forward.npz")
    state = {
        key.removeprefix("state/"): torch.from_numpy(recorded[key])
        for key in recorded.files
        if key.startswith("state/")
    }
    torch.save(state, tmp_path / "released.pt")
    model = transface.load(tmp_path / "released.pt")
    found = model.embed(torch.from_numpy(recorded["images"]), return_norms=True)
    embedding = torch.from_numpy(recorded["embedding"])
    limit = 2e-5 * float(embedding.abs().max())
    torch.testing.assert_close(found.vectors * found.norms[:, None], embedding, rtol=0, atol=limit)


def test_a_run_its_checkpoints_and_the_file_are_one_model(tmp_path: Path, backbone: FaceViT, content: dict) -> None:
    checkpoint = write_run(tmp_path / "demo", content)
    faces = torch.rand(2, 3, 112, 112)
    wanted = torch.nn.functional.normalize(backbone(faces).embedding).detach()
    for path in (
        tmp_path / "demo",
        tmp_path / "demo" / "checkpoints" / "last",
        checkpoint,
        checkpoint / "trainer.ckpt",
    ):
        torch.testing.assert_close(transface.load(path).embed(faces), wanted, rtol=1e-6, atol=1e-6)


def test_averaged_weights_are_taken_unless_refused(tmp_path: Path, content: dict) -> None:
    average = FaceViT(**SMALL)
    torch.save(content | {"ema_backbone": average.state_dict()}, tmp_path / "a.ckpt")
    assert torch.equal(transface.load(tmp_path / "a.ckpt").backbone.pos_embed, average.pos_embed)
    plain = transface.load(tmp_path / "a.ckpt", averaged=False).backbone.pos_embed
    assert torch.equal(plain, content["state_dict"]["backbone.pos_embed"])


class Pool(torch.nn.Module):
    """A user's own network."""

    embedding_size, image_size, patch_size, grid_size = 3, (112, 112), 0, (0, 0)

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Linear(3, 3)

    def forward(self, images: torch.Tensor) -> FaceFeatures:
        return FaceFeatures(self.mix(images.mean(dim=(2, 3))))


def test_a_backbone_for_what_says_its_own_is_refused(tmp_path: Path, content: dict) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    transface.load(tmp_path / "a.ckpt").save_pretrained(tmp_path / "out")
    (tmp_path / "a.onnx").write_bytes(b"")
    for path in (tmp_path / "out", tmp_path / "a.onnx"):
        with pytest.raises(ValueError, match="backbone= is for checkpoints and files of weights"):
            transface.load(path, backbone=Pool())


def test_a_network_of_ones_own_is_filled_from_a_plain_file_too(tmp_path: Path) -> None:
    source, faces = Pool().eval(), torch.rand(2, 3, 112, 112)
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in source.state_dict().items()}}, tmp_path / "own.pt"
    )
    opened = transface.load(tmp_path / "own.pt", backbone=Pool())
    torch.testing.assert_close(opened.embed(faces), torch.nn.functional.normalize(source(faces).embedding).detach())
    with pytest.raises(ValueError, match="num_heads=4 is for released weights"):
        transface.load(tmp_path / "own.pt", backbone=Pool(), num_heads=4)
    with pytest.raises(ValueError, match=r"own\.pt do not fit FaceViT"):
        transface.load(tmp_path / "own.pt", backbone=FaceViT(**SMALL))


@pytest.mark.parametrize("own", [False, True], ids=["ours", "own"])
def test_what_a_plain_lightning_trainer_saves_is_opened_as_it_was_built(tmp_path: Path, own: bool) -> None:
    # Two heads are in no shape: guessed, they would be four, and the embeddings others.
    network = Pool() if own else FaceViT(112, 28, **SMALL)
    module = RecognitionModule(
        network, FullSoftmax(5, network.embedding_size, CosFace()), optimizer=partial(AdamW, lr=1e-3)
    )
    batch = FaceBatch(torch.zeros(2, 3, 112, 112, dtype=torch.uint8), torch.tensor([0, 1]), torch.arange(2))
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(max_steps=1, accelerator="cpu", **quiet)
    trainer.fit(module, torch.utils.data.DataLoader([batch], collate_fn=lambda items: items[0], batch_size=1))
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    opened = transface.load(tmp_path / "own.ckpt", **({"backbone": Pool()} if own else {}))
    faces = torch.rand(2, 3, 112, 112)
    torch.testing.assert_close(
        opened.embed(faces), torch.nn.functional.normalize(network.eval()(faces).embedding).detach()
    )
    assert own or opened.backbone.blocks[0].attn.num_heads == 2
    if own:
        with pytest.raises(ValueError, match="does not say which network it holds: build it and call"):
            transface.load(tmp_path / "own.ckpt")


def test_what_is_known_of_a_run_holds_no_folder_of_the_machine(tmp_path: Path, content: dict) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    provenance = transface.load(tmp_path / "a.ckpt").provenance
    assert provenance["steps"] == 7
    assert provenance["recipe"]["data"] == {"root": "ms1mv2"}
    assert "/home" not in str(provenance)


def test_an_exported_folder_and_its_weights_file_open(tmp_path: Path, content: dict) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    model = transface.load(tmp_path / "a.ckpt")
    model.save_pretrained(tmp_path / "out")
    for path in (tmp_path / "out", tmp_path / "out" / "model.safetensors"):
        again = transface.load(path)
        assert again.fingerprint() == model.fingerprint()
        assert again.provenance == model.provenance


def test_a_folder_with_the_config_of_another_package_is_opened_by_its_weights(tmp_path: Path) -> None:
    source = IResNet((1, 1, 1, 1), embedding_size=8).eval()
    folder = (
        tmp_path / "cvlface_someone"
    )  # as the Hub gives it: weights under the name of their wrapper, a config of transformers
    folder.mkdir()
    save_file({f"model.net.{name}": value for name, value in source.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(
        '{"architectures": ["Recogniser"], "auto_map": {"AutoModel": "wrapper.Recogniser"}}'
    )
    faces = torch.rand(2, 3, 112, 112)
    for path in (folder, folder / "model.safetensors"):
        found = transface.load(path).embed(faces)
        torch.testing.assert_close(
            found, torch.nn.functional.normalize(source(faces).embedding).detach(), rtol=1e-4, atol=1e-4
        )


def test_weights_that_do_not_fit_are_listed(tmp_path: Path, content: dict) -> None:
    content["state_dict"]["backbone.extra"] = torch.zeros(1)
    del content["state_dict"]["backbone.norm.bias"]
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"norm\.bias.*extra"):
        transface.load(tmp_path / "a.ckpt")


def test_a_checkpoint_cannot_choose_code_to_run(tmp_path: Path, content: dict) -> None:
    target = tmp_path / "made"
    content["transface"]["config"] = CONFIG | {"backbone": {"_target_": "os.system", "command": f"touch {target}"}}
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"os\.system"):
        transface.load(tmp_path / "a.ckpt")
    assert not target.exists()


def test_a_backbone_of_another_package_is_filled_when_handed_over(
    tmp_path: Path, backbone: FaceViT, content: dict
) -> None:
    content["transface"]["config"] = CONFIG | {"backbone": {"_target_": "mylab.Net"}}
    torch.save(content, tmp_path / "a.ckpt")
    model = transface.load(tmp_path / "a.ckpt", backbone=FaceViT(**SMALL))
    assert torch.equal(model.backbone.pos_embed, backbone.pos_embed)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["weights.pt", "trainer.ckpt", "weights.pth"])
def test_a_pickle_with_code_is_refused_and_never_run(tmp_path: Path, content: dict, name: str, zipped: bool) -> None:
    made = tmp_path / "made"
    torch.save(content | {"hyper": Bomb(made)}, tmp_path / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=name):
        transface.load(tmp_path / name)
    assert not made.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x00" * 1000, b"\x80\x04."])
@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors"])
def test_broken_files_are_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    file = tmp_path / f"broken{suffix}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="broken"):
        transface.load(file)


def test_what_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        transface.load(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        transface.load(tmp_path)


def test_importing_transface_imports_no_torch() -> None:
    code = (
        "import sys, transface; assert transface.__version__; assert not {'torch', 'numpy', 'lightning'} &"
        " set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(transface.__file__).parents[1])},
    )


def test_opening_a_model_does_without_the_trainer() -> None:
    code = "import sys, transface; transface.load; assert 'torch' in sys.modules and 'lightning' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(transface.__file__).parents[1])},
    )


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = transface.no_such_name


def test_settings_of_released_weights_are_refused_where_they_would_be_passed_over(
    tmp_path: Path, content: dict
) -> None:
    write_run(tmp_path / "demo", content)
    transface.load(tmp_path / "demo").save_pretrained(tmp_path / "exported")
    for path in (tmp_path / "demo", tmp_path / "exported"):
        with pytest.raises(ValueError, match="channels=bgr is for released weights"):
            transface.load(path, channels="bgr")
        with pytest.raises(ValueError, match="num_heads=4 is for released weights"):
            transface.load(path, num_heads=4)
        assert transface.load(path, channels="rgb").embedding_size == 8
