"""Stages: a classifier whose settings change at an epoch or a step of one run; optimizer and schedule continue.

Which stage a step is in follows from its number alone, so a resumed run is in the stage it left.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

log = logging.getLogger(__name__)
BEGINNINGS = ("from_epoch", "from_step")


class Stage(NamedTuple):
    """A stage of a run.

    Attributes:
        unit: "from_epoch" or "from_step": what its beginning is counted in.
        begins: the first epoch or step of it, from 0.
        settings: by dotted name (`sample_rate`, `margin.margin`), what the classifier, or one inside it, has from then
            on.
    """

    unit: str
    begins: int
    settings: dict[str, Any]


class Staged(nn.Module):
    """A classifier with stages; one stage without settings is the classifier itself, to the bit.

    A setting keeps its value through later stages that do not name it.

    Args:
        classifier: whose settings change, as FullSoftmax, PartialFC, TwoAnchors.
        stages: mappings of from_epoch or from_step (the first begins at 0, the others later, all in one unit) and
            settings of the classifier or of one inside it; each has to exist and to be of the kind it has now.

    Attributes:
        stage: the number of the present stage, from 0.

    Raises:
        ValueError: naming the stage and the setting that cannot be.
    """

    def __init__(self, classifier: nn.Module, stages: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.classifier: Any = classifier
        inner: Any = classifier
        self.num_identities = int(inner.num_identities)
        self.embedding_size = int(inner.embedding_size)
        self.stages = _read(stages)
        self._first: dict[str, Any] = {}  # what the classifier was built with
        for number, stage in enumerate(self.stages):
            for name, value in stage.settings.items():
                owner, word = self._owner(name, number)
                self._first.setdefault(name, getattr(owner, word))
                self._set(name, value, number)
        self.stage = -1
        self._enter(0)
        self._show_smallest_rate()

    def _owner(self, name: str, number: int) -> tuple[Any, str]:
        """Return the object that has the setting, and the setting's last word."""
        *way, last = name.split(".")
        inside: Any = self.classifier
        while inside is not None:
            owner = inside
            for word in way:
                owner = getattr(owner, word, None)
            if owner is not None and hasattr(owner, last):
                return owner, last
            inside = getattr(inside, "classifier", None)
        raise ValueError(f"stage {number}: {type(self.classifier).__name__} has no setting {name!r}")

    def _set(self, name: str, value: Any, number: int) -> None:
        owner, word = self._owner(name, number)
        before = getattr(owner, word)
        kind = (int, float) if isinstance(before, float) else type(before)
        if not isinstance(before, bool | int | float | str) or not isinstance(value, kind):
            raise ValueError(f"stage {number}: {name} must be of the kind of {before!r}, got {value!r}")
        try:
            setattr(owner, word, value)
        except ValueError as error:
            raise ValueError(f"stage {number}: {error}") from None

    def _show_smallest_rate(self) -> None:
        """Let the optimizer, which is checked before the first step, see the smallest share of classes."""
        rates = [float(stage.settings["sample_rate"]) for stage in self.stages if "sample_rate" in stage.settings]
        if rates:
            owner, word = self._owner("sample_rate", 0)
            setattr(owner, word, min([*rates, getattr(owner, word)]))
            self.stage = -1  # the first step enters its stage anew

    def _enter(self, number: int) -> None:
        settings = dict(self._first)
        for stage in self.stages[: number + 1]:
            settings |= stage.settings
        for name, value in settings.items():
            self._set(name, value, number)
        self.stage = number

    def unreached(self, *, steps: int, epochs: int) -> list[str]:
        """Return in words what a run of so many steps and epochs never comes to."""
        ends = {"from_epoch": epochs, "from_step": steps}
        found = [
            f"stage {number} begins {stage.unit.replace('_', ' ')} {stage.begins}"
            for number, stage in enumerate(self.stages)
            if stage.begins >= ends[stage.unit]
        ]
        unreached = getattr(self.classifier, "unreached", None)
        return found + ([] if unreached is None else unreached(steps=steps, epochs=epochs))

    def follow(self, *, step: int, epoch: int) -> None:
        """Enter the stage of a step (optimizer steps done so far) and epoch; tell the classifier below."""
        where = {"from_epoch": epoch, "from_step": step}
        number = max(index for index, stage in enumerate(self.stages) if where[stage.unit] >= stage.begins)
        if number != self.stage:
            log.info("stage %d of the classifier from step %d, epoch %d: %s", number, step, epoch, self.stages[number])
            self._enter(number)
        follow = getattr(self.classifier, "follow", None)
        if follow is not None:
            follow(step=step, epoch=epoch)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the losses (B,) of embeddings (B, E), not normalised, with labels (B,) int64."""
        return self.classifier(embeddings, labels)


def _read(stages: Sequence[Mapping[str, Any]]) -> list[Stage]:
    if not stages:
        raise ValueError("stages must be at least one: leave the classifier without stages")
    found: list[Stage] = []
    for number, given in enumerate(stages):
        stated = [unit for unit in BEGINNINGS if unit in given]
        if len(stated) != 1:
            raise ValueError(f"stage {number} must begin at one of {' or '.join(BEGINNINGS)}, got {dict(given)}")
        unit, begins = stated[0], given[stated[0]]
        if not isinstance(begins, int) or (begins == 0) != (number == 0) or begins < 0:
            raise ValueError(f"the first stage begins at 0 and the others later, got {unit}={begins} of stage {number}")
        if found and (unit != found[-1].unit or begins <= found[-1].begins):
            raise ValueError(f"stages begin one after the other, in one unit, got {unit}={begins} of stage {number}")
        found.append(Stage(unit, begins, {name: value for name, value in given.items() if name != unit}))
    return found
