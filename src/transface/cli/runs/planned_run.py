"""`transface train ... plan=true`: what a run costs on many ranks, in a table, before anybody pays for them."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from transface.cli.config.compose import instantiate, missing_names, plain
from transface.cli.config.errors import UserError
from transface.cli.config.value_types import parts

# Images and people of data sets as they are published, for those who do not have them here yet.
PUBLISHED = {
    "ms1mv2": {"num_images": 5_822_653, "num_identities": 85_742},
    "glint360k": {"num_images": 17_091_657, "num_identities": 360_232},
    "webface42m": {"num_images": 42_474_558, "num_identities": 2_059_906},
}
# What systems leave to their data, as an example of plan_facts.
EXAMPLES = {
    "num_identities": "num_identities: C",
    "label_names": "label_names: 40",
    "outputs": "outputs: {age: {kind: number, unit: years}}",
}
UNSTATED = (64, 256)  # ranks that are told of where none are named
RECKONED = ("H100", "A100")  # devices whose hours are reckoned
UTILISATION = 0.4  # of their peak: what well-fed vision transformers reach; nothing of ours was measured on one yet
Facts = Mapping[str, Any]


def print_plan(cfg: DictConfig, *, with_facts: Callable[[DictConfig, Facts], DictConfig]) -> None:
    """Print the table of a run, a column for each number of ranks.

    Raises:
        UserError: where the number of ranks or the facts of the data are not known.
    """
    from rich.console import Console
    from rich.table import Table

    refuse_missing_facts(cfg)
    data, facts, origin = facts_of(cfg)
    told = with_facts(cfg, facts)
    columns = [column_of(told, ranks, data, facts) for ranks in ranks_of(cfg)]
    table = Table(title=f"{cfg.name}: {origin}", title_justify="left")
    table.add_column("of a rank, where nothing else is said")
    for _ in columns:
        table.add_column("", justify="right")
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    Console(width=max(100, 70 + 26 * len(columns))).print(table)
    print("Formulas: docs/scaling.md. Activations: what the network saves for the backward pass, seen on shapes; the")
    print(
        "allocator, CUDA's own context (about 1 GB) and buffers of the libraries come on top. Hours are reckoned from"
    )
    print(
        f"operations and the makers' peaks at {UTILISATION:.0%} of them, not measured; waiting for data is not in them."
    )


def ranks_of(cfg: DictConfig) -> list[int]:
    """Return the numbers of ranks that are asked about; of devices=auto those of two usual clusters."""
    asked = plain(cfg.plan)
    if asked is True:
        if cfg.devices == "auto":  # those of the machine on which is planned say nothing of a cluster
            return list(UNSTATED)
        if not isinstance(cfg.devices, int) or cfg.devices < 1:
            raise UserError(
                f"plan=true takes a number of devices, got devices={cfg.devices}: give devices=8 num_nodes=8, or"
                " plan=[64,256]"
            )
        return [cfg.devices * cfg.num_nodes]
    numbers = asked if isinstance(asked, Sequence) and not isinstance(asked, str) else [asked]
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in numbers):
        raise UserError(f"plan must be true, or numbers of ranks such as [64,256], got {asked!r}")
    return list(numbers)


def refuse_missing_facts(cfg: DictConfig) -> None:
    """Raise where neither the data nor its facts are named.

    Raises:
        UserError: saying what to give.
    """
    missing = missing_names(cfg)
    if missing and not cfg.plan_facts:
        raise UserError(
            f"no value for {', '.join(missing)}: give {'it' if len(missing) == 1 else 'them'}, or the facts of data"
            f" that is not here, plan_facts='{example_facts(cfg)}'"
        )


def example_facts(cfg: DictConfig) -> str:
    """Return the facts that the parts of a system leave to its data, as plan_facts takes them."""
    left = {name for node in parts(cfg) for name in (*EXAMPLES, "tasks") if name in node and node[name] is None}
    facts = ["num_images: N", *(EXAMPLES[name] for name in EXAMPLES if name in left)]
    if "tasks" in left and (unknown := [name for name, row in cfg.data.tasks.items() if not row.get("num_outputs")]):
        facts.append(outputs_to_give(unknown))
    return f"{{{', '.join(facts)}}}"


def outputs_to_give(tasks: Sequence[str]) -> str:
    """Return what plan_facts has to say of tasks whose number of outputs the data tells."""
    return f"num_outputs: {{{', '.join(f'{name}: N' for name in tasks)}}}"


def as_facts(cfg: DictConfig, given: dict[str, Any]) -> dict[str, Any]:
    """Return the facts that plan_facts mean: a number of labels stands for so many names, numbers of outputs complete
    the rows of tasks.

    Raises:
        UserError: for a task whose number of outputs nobody says.
    """
    facts = dict(given)
    if isinstance(number := facts.get("label_names"), int):
        facts["label_names"] = [f"label_{place + 1}" for place in range(number)]
    rows = plain(cfg.data.tasks) if OmegaConf.is_dict(cfg.data) and "tasks" in cfg.data else {}
    if rows and "tasks" not in facts:
        numbers = facts.pop("num_outputs", None) or {}
        numbers = {name: numbers.get(name, row.get("num_outputs")) for name, row in rows.items()}
        if open_ones := [name for name, number in numbers.items() if not number]:
            raise UserError(
                f"plan_facts needs the number of outputs of {', '.join(open_ones)}: plan_facts='{{num_images: N,"
                f" {outputs_to_give(open_ones)}}}'"
            )
        facts["tasks"] = [{**row, "name": name, "num_outputs": numbers[name]} for name, row in rows.items()]
    return facts


def facts_of(cfg: DictConfig) -> tuple[Any, Facts, str]:
    """Return the data where it is here (else None), its facts, and where these come from."""
    given = dict(plain(cfg.plan_facts) or {})
    root = OmegaConf.select(cfg, "data.root", throw_on_missing=False)
    choice = HydraConfig.get().runtime.choices.get("data") if HydraConfig.initialized() else None
    name = str(choice) if choice in PUBLISHED else Path(str(root)).name
    known = PUBLISHED.get(name, {})
    if given:
        return None, {**known, **as_facts(cfg, given)}, "facts as given"
    if known and not (root and Path(str(root)).exists()):
        return None, known, f"facts of {name} as published, the data is not here"
    try:
        data = instantiate(cfg.data)
    except InstantiationException as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise UserError(f"{error.__cause__}; without the data give plan_facts='{example_facts(cfg)}'") from error
    sets = getattr(data, "datasets", None)
    opened = list(sets.values()) if isinstance(sets, Mapping) else [data]
    num_images = max(len(part.dataset) for part in opened if hasattr(part, "dataset"))
    return data, {"num_images": num_images, **data.facts()}, "facts of the data"


def column_of(cfg: DictConfig, ranks: int, data: Any, facts: Facts) -> dict[str, str]:
    """Return the rows of one number of ranks."""
    from transface.training.datamodule import divided
    from transface.training.planning import plan_rank

    accumulation = int(cfg.gradient_accumulation)
    if data is not None:
        images = int(data.device_batch_size(devices=ranks, accumulation=accumulation))
    elif cfg.data.get("batch_size") is not None:
        images = int(cfg.data.batch_size)
    else:
        try:
            images = sum(divided(total, devices=ranks, accumulation=accumulation) for total in totals_of(cfg.data))
        except ValueError as error:
            raise UserError(str(error)) from error
    half = str(cfg.trainer.get("precision", "")).startswith(("16", "bf16"))
    try:
        found = plan_rank(lambda: instantiate(without_files(cfg)), ranks, images=images, half=half)
    except InstantiationException as error:
        if data is not None or not isinstance(error.__cause__, ValueError):
            raise
        raise UserError(f"{error.__cause__}: name it in plan_facts, or give the data") from error
    step = images * ranks * accumulation
    dealt, num_steps = steps_of(cfg, int(facts["num_images"]), step)
    rows = {
        "ranks": f"{ranks:,}",
        "images of a batch": f"{images:,}" + (f" x {accumulation}" if accumulation > 1 else ""),
        "images of a step, all ranks": f"{step:,}",
        **dealt,
    }
    for name, (height, width) in found.centers.items():
        rows[f"{name}, rows x size"] = f"{height:,} x {width}"
    rows |= {
        "weights": size(found.weights),
        "gradients": size(found.gradients),
        "optimizer": size(found.moments),
    }
    if found.head is not None:
        centers = found.head.weights + found.head.gradient + found.head.moments
        rows["class centres, their gradient and moments"] = size(centers)
        rows["their step, faces of all ranks, walk"] = size(found.head.step + found.head.faces + found.head.walk)
    rows["activations (estimate)"] = "not known" if found.activations is None else size(found.activations)
    rows["memory, sum"] = size(found.memory())
    rows |= hours_of(cfg, found.flops_per_image, num_steps=num_steps, step=step)
    moved = found.head_traffic
    if found.head is not None:
        rows["head: gathered, a step"] = size(moved.gathered)
        rows["head: scattered, a step"] = size(moved.scattered)
        rows["head: all-reduced, a step"] = size(moved.reduced)
    rows["gradients: all-reduced, a step"] = size(found.averaged)
    ring = (ranks - 1) / ranks * (moved.gathered + moved.scattered + 2 * (moved.reduced + found.averaged))
    rows["over a link of a ring, a step"] = size(ring * accumulation)
    return rows


def totals_of(data: Any) -> list[int]:
    """Return the images of a step of each data set that a config deals."""
    if "total_batch_size" in data:
        return [int(data.total_batch_size)]
    return [int(task.batch_size) for task in data.tasks.values()]


def without_files(cfg: DictConfig) -> Any:
    """Return the config of the system without weights to start from: their shapes are the network's own."""
    copied = OmegaConf.create(OmegaConf.to_container(cfg.system, resolve=True))
    for node in parts(copied):
        for name, nothing in (("weights", None), ("pretrained", False)):
            if name in node and isinstance(node[name], str | bool):
                node[name] = nothing
    return copied


def hours_of(cfg: DictConfig, flops_per_image: int | None, *, num_steps: float, step: int) -> dict[str, str]:
    """Return the operations of a run and what devices need for them, all ranks together; nothing where they are not
    known or the run has no end.
    """
    from transface.training.callbacks.device_peaks import peak_flops

    if not flops_per_image or math.isinf(num_steps):
        return {}
    operations = float(flops_per_image) * num_steps * step
    precision = str(cfg.trainer.get("precision") or "32-true")
    rows = {"operations of an image, of the run": f"{flops_per_image / 1e9:,.1f} G, {operations / 1e18:,.2f} E"}
    for device in RECKONED:
        peak = peak_flops(device, precision=precision, tf32=True)
        if peak:
            rows[f"{device} hours, all ranks, at {UTILISATION:.0%} of the peak"] = (
                f"{operations / peak / UTILISATION / 3600:,.1f}"
            )
    return rows


def steps_of(cfg: DictConfig, num_images: int, step: int) -> tuple[dict[str, str], float]:
    """Return how an epoch is dealt (steps, images left out at its end, the steps of the run), and the steps of the run
    as a number, infinite where it has no end.
    """
    epoch = num_images // step
    if epoch == 0:
        raise UserError(f"{num_images} images make no step of {step}: take a smaller data.total_batch_size")
    epochs, steps = cfg.trainer.get("max_epochs"), cfg.trainer.get("max_steps")
    ends = [int(epochs) * epoch] if isinstance(epochs, int) and epochs > 0 else []
    ends += [int(steps)] if isinstance(steps, int) and steps > 0 else []
    schedule = cfg.get("schedule") or {}
    warm = schedule.get("warmup_steps")
    warm = round((schedule.get("warmup_epochs") or 0) * epoch) if warm is None else int(warm)
    length = min(ends, default=math.inf)
    return {
        "images, all ranks": f"{num_images:,}",
        "steps of an epoch": f"{epoch:,}",
        "images left out of an epoch, other ones each time": f"{num_images - epoch * step:,}",
        "steps of the run, warm-up": f"{length:,}, {warm:,}",
    }, length


def size(num_bytes: float) -> str:
    """Return bytes in words, powers of ten as docs/scaling.md has them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:,.2f} {unit}"
    return f"{num_bytes:,.0f} B"
