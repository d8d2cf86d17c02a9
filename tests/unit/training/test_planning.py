"""A run of 64 or 256 ranks, planned on a fake process group, against the formulas and the table of docs/scaling.md."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from transface import distributed
from transface.__main__ import main
from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.head_costs import HeadTraffic, head_memory, head_traffic
from transface.classifiers.partial_fc import PartialFC
from transface.cli.config.compose import compose, instantiate
from transface.cli.config.errors import UserError
from transface.cli.runs.planned_run import PUBLISHED, RECKONED, column_of, hours_of, print_plan, ranks_of, steps_of
from transface.cli.train import editable, with_facts
from transface.data.sampling.orders import ShuffledOrder
from transface.data.sampling.rank_batches import RankBatches
from transface.margins.cosface import CosFace
from transface.training.flops import forward_flops
from transface.training.optimization.optimizers import SGD, AdamW
from transface.training.planning import fake_ranks, num_moments, plan_rank, saved_forward

SCALING = Path(__file__).parents[3] / "docs/scaling.md"
RECIPES = {
    "transface/vit_s_ms1mv2": ("ms1mv2", 64),
    "transface/vit_l_glint360k": ("glint360k", 16),
    "webface42m/vit_b": ("webface42m", 384),
}


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("ranks", "rate"), [(64, 1.0), (64, 0.3), (256, 1.0)])
def test_a_step_of_the_head_on_ranks_that_are_not_there_moves_the_bytes_of_the_formulas(
    ranks: int, rate: float, rank: int
) -> None:
    with fake_ranks(ranks, rank=rank * (ranks - 1)):
        classifier = PartialFC(3 * ranks + 1, 8, CosFace(), sample_rate=rate)
        assert len(classifier.centers) == (4 if rank == 0 else 3)
        embeddings = torch.randn(2, 8, requires_grad=True)
        distributed.reset_traffic()
        distributed.global_mean(classifier(embeddings, torch.tensor([0, 5]))).backward()
        found = HeadTraffic(*distributed.traffic())
    assert found == head_traffic(8, ranks=ranks, faces_per_rank=2, faces=2 * ranks, element_size=4)


def recipe(name: str, **settings: Any) -> Any:
    cfg = compose("train", [f"experiment={name}", *(f"{key}={value}" for key, value in settings.items())])
    return with_facts(editable(cfg), PUBLISHED[RECIPES[name][0]])


@pytest.mark.parametrize("ranks", [64, 256])
@pytest.mark.parametrize("name", RECIPES)
def test_the_plan_of_a_recipe_is_what_the_formulas_give(name: str, ranks: int) -> None:
    cfg = recipe(name)
    images = RECIPES[name][1] * 64 // ranks
    found = plan_rank(lambda: instantiate(cfg.system), ranks, images=images, half=True)
    people, sharded = PUBLISHED[RECIPES[name][0]]["num_identities"], "PartialFC" in cfg.classifier._target_
    rows = -(-people // ranks) if sharded else people
    assert found.centers == {"classifier.centers": (rows, 512)}
    backbone = instantiate_on_meta(cfg)
    trained = sum(own.numel() for own in backbone.parameters() if own.requires_grad)
    assert found.gradients == 4 * trained
    assert found.moments == 8 * trained
    assert found.averaged == 4 * (trained + (0 if sharded else 512 * people))
    head = head_memory(people, 512, ranks=ranks, sharded=sharded, sample_rate=cfg.classifier.get("sample_rate", 1.0))
    assert found.head is not None
    assert (found.head.weights, found.head.gradient) == (head.weights, head.gradient)
    assert found.head.moments - head.moments in (0, 4 * rows)  # a count of steps of each row, where rows are sampled
    faces = images * ranks
    expected = head_traffic(512, ranks=ranks, faces_per_rank=images, faces=faces, element_size=4)
    assert found.head_traffic == (expected if sharded else HeadTraffic(0, 0, 0))
    assert found.activations is not None
    assert found.activations > 1e8


def instantiate_on_meta(cfg: Any) -> nn.Module:
    with torch.device("meta"):
        made = instantiate(cfg.system).network
    assert isinstance(made, nn.Module)
    return made


def test_the_plan_and_the_table_of_the_page_agree() -> None:
    """Glint360K on 64 devices: 128 faces each, centres split."""
    (line,) = (line for line in SCALING.read_text().splitlines() if line.startswith("| Glint360K | 64 | 1 |"))
    cfg = recipe("transface/vit_l_glint360k")
    found = plan_rank(lambda: instantiate(cfg.system), 64, images=128)
    assert found.head is not None
    held = found.head.weights + found.head.moments + found.head.gradient + found.head.step
    moved = found.head_traffic
    cells = [f"{held / 1e9:.2f}", f"{moved.gathered / 1e6:.1f}", f"{moved.scattered / 1e6:.1f}"]
    assert [cell.strip() for cell in line.strip("|").split("|")][3:7] == [*cells, f"{moved.reduced / 1e3:.0f}"]


def test_what_a_network_saves_is_seen_on_shapes_as_it_is_saved() -> None:
    def network() -> Any:
        found: Any = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
        found.image_size = (8, 8)
        return found

    found, real = saved_forward(network(), 6, half=False), network()
    sizes: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in real.parameters()}
    keep: list[Any] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        keep.append(tensor)
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        real(torch.zeros(6, 3, 8, 8))
    assert found is not None
    # Running statistics are buffers, the empty reserve of batch norm is nothing.
    assert found.saved == pytest.approx(sum(sizes.values()), abs=64)
    assert found.element_size == 4
    assert saved_forward(nn.Linear(2, 2), 6, half=False) is None


def test_what_an_optimizer_keeps_is_seen_by_a_step() -> None:
    assert num_moments(partial(AdamW, lr=1e-3)) == 2
    assert num_moments(partial(SGD, lr=1e-3, momentum=0.9)) == 1
    assert num_moments(partial(SGD, lr=1e-3, momentum=0.0)) == 0


def test_a_replicated_head_costs_the_same_on_any_number_of_ranks(make_module: Callable[..., Any]) -> None:
    few, many = (plan_rank(lambda: make_module(FullSoftmax(10, 16, CosFace())), ranks, images=4) for ranks in (2, 64))
    assert few == many
    assert plan_rank(lambda: make_module(FullSoftmax(10, 16, CosFace())), 1, images=4).averaged == 0


@pytest.mark.parametrize("ranks", [64, 256])
def test_an_epoch_is_dealt_as_it_is_planned(ranks: int) -> None:
    """Every rank gets as many batches as the plan says, no image twice."""
    num_images, per_rank = 5 * ranks * 3 + 17, 3
    cfg = recipe("transface/vit_s_ms1mv2")
    rows, num_steps = steps_of(cfg, num_images, per_rank * ranks)
    assert num_steps == 35 * int(rows["steps of an epoch"])
    order = ShuffledOrder(num_images, seed=0)
    dealt = [list(RankBatches(order, per_rank, rank=rank, world_size=ranks)) for rank in range(ranks)]
    assert {f"{len(batches):,}" for batches in dealt} == {rows["steps of an epoch"]}
    seen = [index for batches in dealt for batch in batches for index in batch]
    assert len(set(seen)) == len(seen) == num_images - 17
    assert rows["images left out of an epoch, other ones each time"] == "17"


def test_hours_follow_from_the_operations_of_a_real_network_and_the_peak(make_module: Callable[..., Any]) -> None:
    module = make_module(PartialFC(10, 16, CosFace(), sample_rate=0.5))
    counted = module.flops_per_image()
    assert counted == 3 * forward_flops(module.network, torch.zeros(1, 3, *module.network.image_size)) + 6 * 5 * 16
    assert plan_rank(
        lambda: make_module(PartialFC(10, 16, CosFace(), sample_rate=0.5)), 2, images=4
    ).flops_per_image == (counted)
    cfg = recipe("transface/vit_s_ms1mv2")
    rows = hours_of(cfg, 10**9, num_steps=1000, step=4096)
    assert rows["operations of an image, of the run"] == "1.0 G, 0.00 E"
    rows = hours_of(cfg, 10**12, num_steps=100_000, step=4096)
    assert rows["H100 hours, all ranks, at 40% of the peak"] == f"{4.096e20 / 989.4e12 / 0.4 / 3600:,.1f}"
    assert hours_of(cfg, None, num_steps=10, step=1) == hours_of(cfg, 10, num_steps=float("inf"), step=1) == {}


@pytest.mark.slow
def test_device_time_in_the_pages_is_what_the_plan_reckons() -> None:
    page = SCALING.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\S+)` \| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert len(rows) == 6
    for name, epochs, operations, *hours in rows:
        cfg = editable(compose("train", [f"experiment={name}"]))
        facts = PUBLISHED[name.rpartition("_")[2] if "webface" not in name else "webface42m"]
        told = column_of(with_facts(cfg, facts), 8, None, facts)
        assert int(epochs) == cfg.trainer.max_epochs
        assert told["operations of an image, of the run"].startswith(f"{operations} G")
        assert hours == [told[f"{device} hours, all ranks, at 40% of the peak"] for device in RECKONED]
    readme = (SCALING.parents[1] / "README.md").read_text(encoding="utf-8")
    reckoned = [float(row[3]) for row in rows]
    said = re.search(
        r"on MS1MV2 (\d+), (\d+)\s+and (\d+) hours, TransFace-L on Glint360K (\d+), ViT-B on WebFace42M (\d+)", readme
    )
    assert said is not None
    assert [float(one) for one in said.groups()] == pytest.approx([*reckoned[:4], reckoned[5]], abs=0.5)


def test_the_table_is_printed_and_says_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    cfg = recipe("webface42m/vit_b", plan="[64,256]")
    print_plan(cfg, with_facts=with_facts)
    said = capsys.readouterr().out
    assert "facts of webface42m as published" in said
    assert "32,187 x 512" in said
    assert "8,047 x 512" in said
    assert "50.53 MB" in said
    cut = recipe("transface/vit_s_ms1mv2", plan="[48]")
    with pytest.raises(UserError, match="cannot be dealt to 48 devices"):
        print_plan(cut, with_facts=with_facts)
    with pytest.raises(UserError, match="takes a number of devices, got devices="):
        print_plan(recipe("transface/vit_s_ms1mv2", plan="true", devices="[0,1]"), with_facts=with_facts)
    assert ranks_of(recipe("transface/vit_s_ms1mv2", plan="true")) == [64, 256]
    with pytest.raises(UserError, match=r"numbers of ranks such as \[64,256\], got \[0\]"):
        print_plan(recipe("transface/vit_s_ms1mv2", plan="[0]"), with_facts=with_facts)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["experiment=mzts/celeba", "data.root=x", "plan_facts={num_images: 9999, label_names: [a, b]}"], "GB"),
        (["experiment=mzts/celeba", "data.root=x", "plan_facts={num_images: 9999}"], "name it in plan_facts"),
    ],
)
def test_other_systems_are_planned_with_what_is_known(words: list[str], wanted: str) -> None:
    cfg = editable(compose("train", [*words, "backbone.pretrained=false"]))
    facts = dict(cfg.plan_facts)
    if wanted == "GB":
        assert wanted in column_of(with_facts(cfg, facts), 4, None, facts)["memory, sum"]
    else:
        with pytest.raises(UserError, match=wanted):
            column_of(with_facts(cfg, facts), 4, None, facts)


@pytest.mark.parametrize(
    ("experiment", "example", "facts"),
    [
        ("mzts/small", "label_names: 40", "{num_images: 9999, label_names: 3}"),
        ("occlusion/utkface", "outputs: {age:", "{num_images: 9999, outputs: {age: {kind: number, unit: years}}}"),
        (
            "faceptor/real",
            "num_identities: C, num_outputs: {attributes: N, expression: N, landmarks: N, parsing: N}",
            "{num_images: 9999, num_identities: 9,"
            " num_outputs: {attributes: 3, expression: 3, landmarks: 68, parsing: 19}}",
        ),
    ],
)
def test_a_plan_needs_no_data_where_its_facts_are_given(
    experiment: str, example: str, facts: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    words = ["train", f"experiment={experiment}", "plan=[2]"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "no value for " in line
    assert "or the facts of data that is not here, plan_facts='{num_images: N, " in line
    assert example in line
    assert main([*words, f"plan_facts={facts}"]) == 0
    assert "facts as given" in capsys.readouterr().out


def test_a_task_whose_number_of_outputs_nobody_says_is_named() -> None:
    facts = "{num_images: 9999, num_identities: 9, num_outputs: {parsing: 19, attributes: 3}}"
    cfg = compose("train", ["experiment=faceptor/real", "plan=[2]", f"plan_facts={facts}"])
    with pytest.raises(UserError, match="needs the number of outputs of expression, landmarks: plan_facts="):
        print_plan(editable(cfg), with_facts=with_facts)
