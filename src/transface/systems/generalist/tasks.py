"""What a generalist is asked: one row a task, its kind, its number of outputs, its share of a step and of the loss.

Faceptor (ECCV 2024, arXiv 2403.09500), table 1. Adding a task is adding a row. Published tasks keep the names they have
in the released files: a word for the kind, then the data set.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

TaskKind = Literal["identity", "age", "attributes", "expression", "parsing", "landmarks"]
Pixels = Literal["half", "clip"]
DENSE_KINDS = ("parsing", "landmarks")


class Task(NamedTuple):
    """One question.

    Attributes:
        name: of the task, a word; names its queries and its losses.
        kind: what is asked, which decides readout, loss and measure.
        num_outputs: queries; of identity: the size of the embedding.
        batch_size: images in a step on all devices together.
        names: of the outputs, if they have any.
        image_size: side in pixels at which its images pass the encoder; None: the network's own.
        region: of the network's image, left, top, right, bottom as shares: what this task looks at; empty: all of it.
        pixels: how the encoder is given them: "half", in [-1, 1], or "clip", by CLIP's mean and deviation.
    """

    name: str
    kind: TaskKind
    num_outputs: int
    batch_size: int = 1
    names: tuple[str, ...] = ()
    image_size: int | None = None
    region: tuple[float, ...] = ()
    pixels: Pixels = "half"

    @property
    def dense(self) -> bool:
        """Whether each query answers with a map."""
        return self.kind in DENSE_KINDS

    @property
    def has_queries(self) -> bool:
        """Whether the decoder answers it; identity is read from the encoder."""
        return self.kind != "identity"

    @property
    def output(self) -> str:
        """The name its answer has among a network's outputs: its own; all identity tasks share one embedding."""
        return "embedding" if self.kind == "identity" else self.name


FULL: tuple[Task, ...] = (
    Task("recog_ms1mv3", "identity", 512, 256),
    Task("age_morph2", "age", 101, 64),
    Task("age_utkface", "age", 101, 16),
    Task("biattr_celeba", "attributes", 40, 64),
    Task("affect_affectnet", "expression", 7, 64),
    Task("affect_rafdb", "expression", 7, 16),
    Task("affect_ferplus", "expression", 7, 16),
    Task("parsing_celebam", "parsing", 19, 4),
    Task("parsing_lapa", "parsing", 11, 4),
    Task("align_300w", "landmarks", 68, 4),
    Task("align_cofw", "landmarks", 29, 4),
    Task("align_wflw", "landmarks", 98, 4),
    Task("align_aflw", "landmarks", 19, 4),
)
BASE_NAMES = (
    "recog_ms1mv3",
    "age_morph2",
    "biattr_celeba",
    "affect_affectnet",
    "affect_rafdb",
    "parsing_celebam",
    "align_300w",
)
BASE: tuple[Task, ...] = tuple(task for task in FULL if task.name in BASE_NAMES)

BASE_KIND_WEIGHTS: Mapping[str, float] = {
    "identity": 5,
    "age": 6,
    "attributes": 2,
    "expression": 5,
    "parsing": 100,
    "landmarks": 1000,
}
FULL_KIND_WEIGHTS: Mapping[str, float] = {
    "identity": 5,
    "age": 5,
    "attributes": 2,
    "expression": 10,
    "parsing": 200,
    "landmarks": 1000,
}


def as_tasks(rows: Iterable[Any]) -> tuple[Task, ...]:
    """Return the tasks of rows given as Tasks or as mappings of their fields (a config's).

    Raises:
        ValueError: for no row, two tasks of one name, an unknown kind, or a number below 1.

    Example:
        >>> as_tasks([{"name": "smile", "kind": "attributes", "num_outputs": 1}])[0].has_queries
        True
    """
    tasks = []
    for row in rows:
        try:
            task = row if isinstance(row, Task) else Task(**row) if isinstance(row, Mapping) else Task(*row)
        except TypeError as error:
            raise ValueError(f"a task is {{{', '.join(Task._fields)}}}, got {row!r}: {error}") from None
        if task.kind not in get_args(TaskKind):
            raise ValueError(
                f"kind of task {task.name!r} must be one of {', '.join(get_args(TaskKind))}, got {task.kind!r}"
            )
        if task.num_outputs < 1 or task.batch_size < 1:
            raise ValueError(
                f"task {task.name!r} needs at least one output and one image a step, got {task.num_outputs} and"
                f" {task.batch_size}"
            )
        if not str(task.name).isidentifier():
            raise ValueError(f"the name of a task must be a word of letters, digits and _, got {task.name!r}")
        tasks.append(_checked(task._replace(names=tuple(task.names), region=tuple(map(float, task.region)))))
    names = [task.name for task in tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not tasks:
        raise ValueError(
            f"two tasks are named {', '.join(twice)}: each name once"
            if twice
            else "a generalist needs at least one task"
        )
    return tuple(tasks)


def unread_settings(kinds: Mapping[str, str], others: Iterable[str]) -> dict[str, str]:
    """Return the settings of a generalist, by name, that nothing reads beside its tasks, each with the reason: weights
    of other tasks, a classifier where no task is of identity, layers for finer points and regions where none is dense.

    Args:
        kinds: of the tasks, by name.
        others: names of tasks that are not there.
    """
    told = ", ".join(kinds)
    unread = {f"balance.names.{name}": f"{name} is none of the tasks {told}" for name in sorted(others)}
    if kinds and "identity" not in kinds.values():
        unread["classifier"] = f"only tasks of identity have a classifier, and none of {told} is one"
    if kinds and not set(kinds.values()) & set(DENSE_KINDS):
        unread["network.pixel_layers"] = (
            f"only tasks of {' and '.join(DENSE_KINDS)} read them, and none of {told} is one"
        )
    return unread


def _checked(task: Task) -> Task:
    """Return a task whose names, size and region may be.

    Raises:
        ValueError: naming what may not.
    """
    if task.names and task.kind not in ("identity", "age") and len(task.names) != task.num_outputs:
        raise ValueError(
            f"task {task.name!r} has {task.num_outputs} outputs and {len(task.names)} names: one name an output"
        )
    if task.image_size is not None and task.image_size < 1:
        raise ValueError(f"image_size of task {task.name!r} must be at least 1 or null, got {task.image_size}")
    if task.pixels not in get_args(Pixels):
        raise ValueError(f"pixels of task {task.name!r} must be half or clip, got {task.pixels!r}")
    if task.region:
        if task.dense:
            raise ValueError(
                f"task {task.name!r} answers for the whole image: only tasks that are not dense take a region"
            )
        if len(task.region) != 4 or not (task.region[0] < task.region[2] and task.region[1] < task.region[3]):
            raise ValueError(
                f"region of task {task.name!r} must be left, top, right, bottom as shares, got {list(task.region)}"
            )
    return task


def task_weights(tasks: Sequence[Task], kind_weights: Mapping[str, float]) -> dict[str, float]:
    """Return the factor of each task's loss: that of its kind, shared in proportion to the images a step (supplement,
    table of data sets).

    Raises:
        ValueError: if a kind has no weight.
    """
    missing = sorted({task.kind for task in tasks} - kind_weights.keys())
    if missing:
        raise ValueError(f"kind_weights lacks {', '.join(missing)}; it has {', '.join(kind_weights)}")
    images = {kind: sum(task.batch_size for task in tasks if task.kind == kind) for kind in kind_weights}
    return {task.name: kind_weights[task.kind] * task.batch_size / images[task.kind] for task in tasks}
