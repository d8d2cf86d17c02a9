"""Released files of Faceptor and Naive Faceptor at other sizes, under other prefixes, with something wrong in them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import transface
from transface.backbones.clip_vit import ClipViT, load_clip_tower
from transface.systems.generalist.faceptor import Faceptor, NaiveFaceptor
from transface.systems.generalist.released import our_key, released_key, released_network
from transface.systems.generalist.tasks import Task

TASKS = [
    Task("recog_ms1mv3", "identity", 16),
    Task("age_morph2", "age", 101),
    Task("affect_rafdb", "expression", 7),
    Task("parsing_lapa", "parsing", 11),
    Task("align_cofw", "landmarks", 29),
]
TELLS = {"num_heads": 4, "decoder_heads": 2}


def tower(depth: int, patch: int, layers: list[int]) -> ClipViT:
    return ClipViT(
        image_size=112,
        position_size=112,
        patch_size=patch,
        width=64,
        depth=depth,
        num_heads=4,
        output_width=8,
        drop_path=0.0,
        layers=layers,
    )


def faceptor(depth: int = 4, patch: int = 16, more: tuple[int, ...] = ()) -> Faceptor:
    layers = (depth - 1, *more)
    encoder = tower(depth, patch, sorted(layers))
    network = Faceptor(encoder, TASKS, width=32, num_heads=2, feedforward_width=48, num_layers=2, read_layers=layers)
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.1)
    return network.eval()


def as_released(network: Faceptor) -> dict[str, Tensor]:
    state = {}
    for key, value in network.state_dict().items():
        own = value[:, :, None, None] if key.startswith("memory.projections.") and value.ndim == 2 else value
        state[released_key(key)] = own.clone()
    decoder = "module.heads_module.decoder."
    rows = state.pop(decoder + "level_embed.weight")
    state[decoder + "level_embed.weight"] = rows[:1]
    if len(rows) > 1:
        state[decoder + "new_level_embed.weight"] = rows[1:]
    return state


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return as_released(faceptor())


def test_names_lead_there_and_back() -> None:
    for network in (faceptor(more=(1,)), NaiveFaceptor(tower(12, 16, [3, 5, 7, 9, 11]), TASKS, dense_channels=8)):
        for key in network.state_dict():
            if key != "memory.layer_embedding":
                assert our_key(released_key(key)) == key


@pytest.mark.parametrize(("depth", "patch", "more"), [(4, 16, ()), (6, 8, (1, 3)), (12, 14, (1, 3, 5, 7, 9))])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_other_sizes_answer_as_the_network_they_are_of(
    tmp_path: Path, depth: int, patch: int, more: tuple[int, ...], suffix: str
) -> None:
    source = faceptor(depth, patch, more)
    path = tmp_path / f"faceptor{suffix}"
    if suffix == ".pt":
        torch.save({"step": 1, "state_dict": as_released(source), "optimizer": {}}, path)
    else:
        save_file({key: value.contiguous() for key, value in as_released(source).items()}, path)
    model = transface.load(path, **TELLS)
    images = torch.rand(2, 3, 112, 112) * 2 - 1
    with torch.no_grad():
        found = model.backbone.task_logits(model.backbone.encode(images), [task.name for task in TASKS])
        wanted = source.task_logits(source.encode(images), [task.name for task in TASKS])
    for name, logits in wanted.items():
        torch.testing.assert_close(found[name], logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.", "model."])
def test_any_wrapping_is_taken_off(state: dict[str, Tensor], prefix: str) -> None:
    def half(value: Tensor) -> Tensor:
        return value.half() if value.is_floating_point() else value

    wrapped = {prefix + key.removeprefix("module."): half(value) for key, value in state.items()}
    opened = released_network(wrapped, **TELLS)
    wanted = released_network(state, **TELLS)
    for key, value in wanted.state_dict().items():
        assert torch.equal(opened.state_dict()[key], half(value).to(value.dtype))


def test_every_key_that_lacks_or_has_another_shape_is_named(state: dict[str, Tensor]) -> None:
    for key in (key for key in state if not key.endswith("num_batches_tracked")):
        for change in ("missing", "shape"):
            wrong = {name: value for name, value in state.items() if name != key}
            if change == "shape":
                wrong[key] = torch.zeros(*state[key].shape, 2)
            # A task without its queries is a task the file does not have: the other half of its rows is too many.
            told = key.split("query_feat.")[-1] if "query_feat" in key and change == "missing" else key
            with pytest.raises(ValueError, match=told.replace(".", r"\.")) as caught, torch.device("meta"):
                released_network(wrong, **TELLS)
            assert "\n" not in str(caught.value)


def test_the_identity_task_has_the_name_of_its_margin_in_the_file(state: dict[str, Tensor]) -> None:
    classifier = {"module.losses_module.losses.recog_glint360k.classifier": torch.zeros(9, 16)}
    assert "recog_glint360k" in released_network(state | classifier, **TELLS).tasks
    assert "recog_ms1mv3" in released_network(state, **TELLS).tasks


def test_a_key_too_many_is_named(state: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"adapter\.weight"):
        released_network(state | {"module.backbone_module.visual.adapter.weight": torch.zeros(1)}, **TELLS)


def test_heads_that_no_shape_tells_are_told_or_warned_of(
    state: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    released_network(state, **TELLS)
    assert "number of heads" not in caplog.text
    released_network(state)
    assert "num_heads=..." in caplog.text
    assert "decoder_heads=..." in caplog.text


def test_decoder_heads_are_for_a_faceptor_alone(tmp_path: Path) -> None:
    backbone = transface.backbones.mobilefacenet.MobileFaceNet((1, 1, 1, 1), width=1, embedding_size=8)
    torch.save(backbone.state_dict(), tmp_path / "face.pt")
    with pytest.raises(ValueError, match="decoder_heads=2 is for a released Faceptor"):
        transface.load(tmp_path / "face.pt", decoder_heads=2)


def test_weights_trained_on_bgr_take_rgb(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "faceptor.pt")
    images = torch.rand(1, 3, 112, 112)
    rgb, bgr = (transface.load(tmp_path / "faceptor.pt", channels=order, **TELLS).backbone for order in ("rgb", "bgr"))
    with torch.no_grad():
        torch.testing.assert_close(bgr.encode(images.flip(1)).tokens[3], rgb.encode(images).tokens[3])


def test_a_norm_stored_twice_may_stand_under_either_name(state: dict[str, Tensor]) -> None:
    start = "module.heads_module.interpreters.map_v2.mask_map.1."
    under_second = {key.replace(start, start + "ln."): value for key, value in state.items()}
    wanted, found = (released_network(one, **TELLS).state_dict() for one in (state, under_second))
    assert all(torch.equal(value, found[key]) for key, value in wanted.items())


@pytest.mark.parametrize("dense", [Task("parsing_celebam", "parsing", 19), Task("parsing_lapa", "parsing", 11)])
def test_a_naive_faceptor_of_other_widths_opens(dense: Task) -> None:
    tasks = [*TASKS[:3], dense, Task("align_wflw", "landmarks", 98)]
    source = NaiveFaceptor(tower(12, 16, [3, 5, 7, 9, 11]), tasks, feature_width=32, dense_channels=8).eval()
    state = {released_key(key): value for key, value in source.state_dict().items()}
    model = released_network(state, num_heads=4)
    images = torch.rand(2, 3, 112, 112)
    with torch.no_grad():
        for name in source.tasks:
            logits = source.task_logits(source.encode(images), [name])[name]
            torch.testing.assert_close(model.task_logits(model.encode(images), [name])[name], logits)


def test_a_clip_tower_tells_what_lacks_and_what_does_not_fit() -> None:
    state = tower(2, 16, [1]).state_dict()
    del state["ln_pre.bias"]
    state["transformer.resblocks.0.ln_1.weight"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"1 missing: ln_pre\.bias; .*ln_1\.weight is \(3,\), the model has \(64,\)"):
        load_clip_tower(tower(2, 16, [1]), state)
