"""The Python examples of README.md and of the pages on models run as they stand, in a folder as their readers have
it.
"""

import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transface.backbones.face_vit import FaceViT
from transface.cli.config.command_line import hydra_words, overrides_of
from transface.cli.config.compose import compose
from transface.cli.config.folder import conf_folder
from transface.cli.config.model_options import words_and_keys
from transface.cli.export import verify_words
from transface.data.benchmarks.pairs import write_pair_set
from transface.evaluation.results import Measure, Result, write_result
from transface.synthetic.datasets import write_identity_pack
from transface.synthetic.templates import write_ijbc_folder

ROOT = Path(__file__).parents[2]
CONF = conf_folder()
PAGES = ("docs/from_insightface.md", "docs/from_timm.md", "docs/to_onnx.md", "docs/api.md")
SMALL = {"patch_size": 14, "embed_dim": 16, "depth": 1, "num_heads": 2, "embedding_size": 16}


def examples(page: str) -> str:
    """All Python blocks of a page, as one program."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.S | re.M))


def jpeg(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def smooth(rng: np.random.Generator, size: int) -> np.ndarray:
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def released_names(backbone: FaceViT) -> dict[str, torch.Tensor]:
    theirs = {
        "gate.squeeze.": "senet.0.",
        "gate.excite.": "senet.2.",
        "neck.project.": "feature.0.",
        "neck.project_norm.": "feature.1.",
    }
    theirs |= {"neck.embed.": "feature.2.", "neck.embed_norm.": "feature.3."}
    state = {}
    for name, value in backbone.state_dict().items():
        prefix = next((ours for ours in theirs if name.startswith(ours)), None)
        state[theirs[prefix] + name.removeprefix(prefix) if prefix else name] = value
    return state


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `make demo` leaves, in small, and some pictures."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    backbone = FaceViT(**SMALL).eval()
    checkpoint = tmp_path / "runs" / "demo" / "checkpoints" / "step-000000001"
    checkpoint.mkdir(parents=True)
    config = {"name": "demo", "backbone": {"_target_": "transface.backbones.face_vit.FaceViT", **SMALL}}
    state = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    torch.save({"state_dict": state, "transface": {"config": config, "versions": {}}}, checkpoint / "trainer.ckpt")
    (checkpoint.parent / "best").symlink_to(checkpoint.name)
    is_same = np.arange(200) % 2 == 0
    arrays = {"scores": rng.normal(is_same * 0.5, 0.2).clip(-1, 1), "is_same": is_same}
    for name in ("easy", "medium", "hard"):
        write_result(
            Result("pair_sets", name, "F1", (Measure("accuracy", 0.9),), arrays=arrays),
            tmp_path / "runs" / "demo" / "results",
        )
        (tmp_path / "data" / "demo").mkdir(parents=True, exist_ok=True)
        write_pair_set(
            tmp_path / "data" / "demo" / f"{name}.bin", [jpeg(smooth(rng, 112)) for _ in range(20)], [True, False] * 5
        )
    write_identity_pack(tmp_path / "data" / "demo", 4, images_per_identity=8)
    write_ijbc_folder(tmp_path / "data" / "demo" / "ijbc", 2, templates_per_identity=1)
    for name, size in (("a", 112), ("b", 112), ("photo", 400)):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(smooth(rng, size)))
    torch.save(released_names(FaceViT(embed_dim=16, depth=1, num_heads=4, embedding_size=8)), tmp_path / "backbone.pth")
    return tmp_path


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_the_examples_of_a_page_run_as_they_stand(room: Path, page: str) -> None:
    program = examples(page)
    assert program, f"{page} has no Python example"
    exec(compile(program, page, "exec"), {"__name__": "__main__"})


def written_pages() -> list[str]:
    """All pages for readers; what a program wrote (docs/results), and the log of what was run then, are not."""
    found = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
    return ["README.md", "data/README.md"] + [
        page for page in found if not page.startswith(("docs/results/", "docs/LOG.md"))
    ]


def commands(page: str) -> list[str]:
    """The commands of a page: lines that are indented or in a block, without the comment behind them."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(r"^(?: {4})?(?:srun )?(transface \w+ .*?)(?:\s+#.*)?$", text, re.M)


def composed(command: str) -> bool:
    """Whether a command is whole, and its verb's config is all that it needs."""
    verb = command.split()[1]
    return (CONF / f"{verb}.yaml").is_file() and not re.search(r"<|\.\.\. |\.\.\.$| run=| -m |--config-dir", command)


@pytest.mark.parametrize(
    "command", sorted({command for page in written_pages() for command in commands(page) if composed(command)})
)
def test_the_commands_of_the_pages_compose(command: str) -> None:
    _, verb, *words = shlex.split(command)
    plain = ("align", "cluster", "compare", "embed", "predict", "search", "translate")
    keys = words_and_keys([word for word in words if word != "--json"])[1] if verb in plain else words
    assert all("=" in key for key in keys)
    if verb == "train":
        keys = overrides_of(hydra_words(keys, CONF))
    compose(verb, [word for key in keys for word in (verify_words(key) if verb == "export" else [key])])


@pytest.mark.parametrize("page", written_pages())
def test_every_option_a_page_names_is_there(page: str) -> None:
    text = re.sub(r"^```python\n.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S | re.M)
    groups = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra", "paths"}
    own = set(re.findall(r"# my_conf/([\w/]+)\.yaml", text)) | {"sweep/x", "sweep/transface/x"}
    named = re.findall(r"(?:(?<=[\s`(\[])|^)\+?(\w+)=\[?([\w/,]+)(?=[\]\s`),.;:]|$)(?!\.\.\.|/)", text, re.M)
    chosen = {f"{group}/{option}" for group, words in named if group in groups for option in words.split(",") if option}
    for group, table in re.findall(r"^\| (\w+)= \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.M):
        rows = [row.split("|")[1] for row in table.splitlines()]
        chosen |= {f"{group}/{option}" for row in rows for option in re.findall(r"`([\w/]+)`", row)}
    chosen = {word for word in chosen if not re.search(r"/(null|false|runs/.*|[A-Z]+)$", word)}
    assert sorted(word for word in chosen - own if not (CONF / f"{word}.yaml").is_file()) == []
