"""What a generalist is asked: one row a task, its kind, its number of outputs, its share of a step and of the loss.

Faceptor (ECCV 2024, arXiv 2403.09500), table 1. Adding a task is adding a row. Published tasks keep the names they have
in the released files: a word for the kind, then the data set.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

TaskKind = Literal["identity", "age", "attributes", "expression", "parsing", "landmarks"]
DENSE_KINDS = ("parsing", "landmarks")


class Task(NamedTuple):
    """One question.

    Attributes:
        name: of the task, a word; names its queries and its losses.
        kind: what is asked, which decides readout, loss and measure.
        num_outputs: queries; of identity: the size of the embedding.
        batch_size: images in a step on all devices together.
        names: of the outputs, if they have any.
    """

    name: str
    kind: TaskKind
    num_outputs: int
    batch_size: int = 1
    names: tuple[str, ...] = ()

    @property
    def dense(self) -> bool:
        """Whether each query answers with a map."""
        return self.kind in DENSE_KINDS

    @property
    def has_queries(self) -> bool:
        """Whether the decoder answers it; identity is read from the encoder."""
        return self.kind != "identity"


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
        tasks.append(task._replace(names=tuple(task.names)))
    names = [task.name for task in tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not tasks:
        raise ValueError(
            f"two tasks are named {', '.join(twice)}: each name once"
            if twice
            else "a generalist needs at least one task"
        )
    return tuple(tasks)


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
