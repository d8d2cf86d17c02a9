"""The data of a generalist: one data set a task, a batch of every one in each step.

Faceptor (ECCV 2024) section 4.1.
"""

from collections.abc import Callable, Mapping
from typing import Any

from transface.images.fit import Fit
from transface.systems.generalist.task_data import NoRootError, TaskFacts
from transface.systems.generalist.tasks import Task, as_tasks
from transface.training.datamodule import JointTrainingData, TrainingData

DENSE = ("landmarks", "parsing")
SetMaker = Callable[..., TrainingData]


class GeneralistData(JointTrainingData):
    """Batches of the data sets of all tasks.

    Args:
        tasks: rows, by name; `num_outputs` and `names` that are left out are the data's.
        sets: by task, what makes its data: (image_size=..., total_batch_size=..., **settings) -> TrainingData whose
            facts are those of task_data.TaskFacts; without a root it raises NoRootError.
        image_size: of tasks that state none.
        fit: what happens to images of another size; dense tasks cut their own crops of images of any size.
        steps_per_epoch: as of JointTrainingData.
        settings: of every TrainingData: order, num_workers, seed, on_bad_record, max_bad_share, decode.

    Raises:
        ValueError: for a task without data or data without a task, labels of another kind, or another number of
            outputs.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        sets: Mapping[str, SetMaker],
        *,
        image_size: int,
        fit: Fit = "refuse",
        steps_per_epoch: int | None = None,
        **settings: Any,
    ) -> None:
        if not tasks:
            raise ValueError("a generalist needs tasks: give a row and a data set of at least one")
        rows = {name: _named(name, row) for name, row in tasks.items()}
        if lone := sorted(set(rows) - set(sets)):
            raise ValueError(f"task {lone[0]!r} has no data: give data.sets.{lone[0]}")
        if lone := sorted(set(sets) - set(rows)):
            raise ValueError(f"data set {lone[0]!r} has no task: give data.tasks.{lone[0]}")
        opened: dict[str, TrainingData] = {}
        found: list[dict[str, Any]] = []
        self.num_identities = 0
        for name, row in rows.items():
            own = dict(settings) if row["kind"] in DENSE else {**settings, "fit": fit}
            if row["kind"] == "identity":
                own["first_label"] = self.num_identities
            size = row.get("image_size") or image_size
            try:
                opened[name] = sets[name](image_size=size, total_batch_size=row.get("batch_size", 1), **own)
            except NoRootError as error:
                raise ValueError(f"task {name!r} has no data: {name}.root is null, give a folder or a list") from error
            facts = TaskFacts(**opened[name].facts())
            found.append(_row(row, facts))
            self.num_identities += facts.num_identities
        self.tasks = as_tasks(found)
        super().__init__(opened, steps_per_epoch=steps_per_epoch)

    def facts(self) -> dict[str, Any]:
        """Return the rows of all tasks as plain values, and the people of all identity tasks together."""
        rows = [task._asdict() | {"names": list(task.names), "region": list(task.region)} for task in self.tasks]
        return {"tasks": rows} | ({"num_identities": self.num_identities} if self.num_identities else {})


def _named(name: str, row: Any) -> dict[str, Any]:
    """Return a row as a mapping that holds its name.

    Raises:
        ValueError: for a row that is none, or that names itself otherwise.
    """
    fields = row._asdict() if isinstance(row, Task) else dict(row)
    if fields.get("name", name) != name:
        raise ValueError(f"the row of task {name!r} names itself {fields['name']!r}: leave its name out")
    if "kind" not in fields:
        raise ValueError(
            f"the row of task {name!r} needs a kind: identity, age, attributes, expression, parsing, landmarks"
        )
    return fields | {"name": name}


def _row(row: Mapping[str, Any], facts: TaskFacts) -> dict[str, Any]:
    """Return a row with what the data tells.

    Raises:
        ValueError: if they do not fit each other.
    """
    if row["kind"] != facts.kind:
        raise ValueError(f"task {row['name']!r} is of kind {row['kind']}, and its data has labels of {facts.kind}")
    stated = row.get("num_outputs")
    if facts.num_outputs and stated is not None and stated != facts.num_outputs:
        raise ValueError(
            f"task {row['name']!r} has num_outputs={stated}, and its data has {facts.num_outputs}: leave it out to take"
            " the data's"
        )
    count = stated if stated is not None else facts.num_outputs
    if not count:
        raise ValueError(f"task {row['name']!r} needs num_outputs: its data does not tell")
    names = row.get("names") or facts.names
    return {**row, "num_outputs": count, "names": tuple(names)}
