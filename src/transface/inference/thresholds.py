"""From which cosine on two faces count as one person, and the mode that was measured in: a threshold holds for its own
model and mode alone.

The one home of that check: `embed(threshold=...)`, `compare`, `search` and the verbs ask here.
"""

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from transface.evaluation.results import Result, read_arrays, read_result

log = logging.getLogger(__name__)
FEW_IMPOSTORS = 10
FLIPS: dict[str, Literal["none", "sum"]] = {"F0": "none", "F1": "sum"}
PREPARATION = ("detector", "fit", "points")  # how a protocol of one's own pictures makes faces of them


class MeasuredMode(NamedTuple):
    """What a threshold was measured with; what is not known is "" or {}.

    Attributes:
        flip: "sum" or "none", as `FaceModel.embed` takes it.
        model: the fingerprint of the weights.
        checkpoint_hash: SHA-256 of the file they came from.
        checkpoint: its path, as it was given.
        preparation: how pictures became faces: detector, fit, points, those that were stated.
        source: the result it was read from.
    """

    flip: Literal["none", "sum", ""] = ""
    model: str = ""
    checkpoint_hash: str = ""
    checkpoint: str = ""
    preparation: Mapping[str, Any] = {}
    source: str = ""


class Threshold(NamedTuple):
    """The lowest cosine at which a set of pairs keeps a false accept rate.

    Attributes:
        cosine: pairs at and above it count as one person.
        far: the false accept rate there, at most the one asked for.
        tar: the true accept rate there.
        num_impostors: impostor pairs it was measured on.
        warning: why not to trust it, or "".
        mode: what it was measured with: embeddings made otherwise have another threshold.
    """

    cosine: float
    far: float
    tar: float
    num_impostors: int
    warning: str = ""
    mode: MeasuredMode = MeasuredMode()

    def check(self, model: Any = None, *, flip: str | None = None, preparation: Mapping[str, Any] | None = None) -> str:
        """Hold the threshold against what it is to be used with; return a sentence of warning, or "".

        Args:
            model: a FaceModel (anything with `fingerprint()`), or None: not looked at.
            flip: of the embeddings, "none" or "sum"; None: not looked at.
            preparation: how pictures become faces: detector, fit, points; another one than was measured is warned of.

        Raises:
            ValueError: if it was measured with another model or another flip.
        """
        where = f"the threshold of {self.mode.source or 'this result'}"
        if flip is not None and self.mode.flip and flip != self.mode.flip:
            raise ValueError(
                f"{where} was measured with flip={self.mode.flip}, the embeddings are of flip={flip}: the false"
                f" accept rate would be another one. Give flip={self.mode.flip}, or"
                f" evaluate with protocol.flip={'true' if flip == 'sum' else 'false'}"
            )
        if model is not None and self.mode.model and model.fingerprint() != self.mode.model:
            raise ValueError(
                f"{where} was measured with another model ({self.mode.checkpoint or self.mode.model[:12]}) than the one"
                " in use: a threshold holds for its own model alone. Take the threshold of a result of this model"
            )
        stated, used = self.mode.preparation, preparation or {}
        cut_out = [name for name in ("detector", "points") if stated.get(name) or used.get(name)]
        names = [name for name in used if name in stated and not (name == "fit" and cut_out)]  # fit= is not read then
        return "; ".join(
            f"{where} was measured with {_setting(name, stated[name])}, this uses {_setting(name, used[name])}"
            for name in names
            if not _is_same(name, stated[name], used[name])
        )


def _setting(name: str, value: Any) -> str:
    return f"no {name}" if value is None else f"{name}={value}"


def _is_same(name: str, first: Any, second: Any) -> bool:
    """Return whether two values of a setting are one; a detector is told by the word of a command ("yunet:a.onnx") or
    by what an open one is called ("yunet (a.onnx ...)").
    """
    if name != "detector" or first is None or second is None or first == second:
        return bool(first == second)
    first, second = sorted(map(str, (first, second)), key=lambda text: " (" in text)
    kind, _, file = first.partition(":")
    return " (" in second and second.startswith(f"{kind} (") and Path(file).name in second


def threshold(result: Result | str | Path, far: float = 1e-3) -> Threshold:
    """Return the threshold at which the pairs of a verification result have at most the false accept rate `far`.

    It is exact where the scores (.npz) lie beside the result's JSON, else the nearest stricter point of its ROC curve.
    It carries the mode it was measured in; `FaceModel.embed(..., threshold=...)` embeds in that mode.

    Raises:
        FileNotFoundError: if there is no such result.
        ValueError: if the result has no pairs, or too few impostors to measure `far` (fewer than 1 / far).
    """
    if not 0 < far <= 1:
        raise ValueError(f"far must be in (0, 1], got {far}")
    found = result if isinstance(result, Result) else read_result(result)
    arrays = read_arrays(found)
    if "scores" in arrays and "is_same" in arrays:
        return _from_scores(arrays["scores"], arrays["is_same"].astype(bool), far)._replace(mode=mode_of(found))
    if found.roc is None:
        raise ValueError(
            f"the result {found.stem} has neither scores nor a ROC curve: thresholds come from verification results"
        )
    return _from_curve(found, far)._replace(mode=mode_of(found))


def mode_of(result: Result) -> MeasuredMode:
    """Return what a result was measured with, as far as it says so."""
    word = re.search(r"F[01](?![0-9])", result.mode)
    made = result.provenance
    protocol = made.config.get("protocol")
    stated = protocol if isinstance(protocol, Mapping) else {}
    return MeasuredMode(
        flip=FLIPS[word.group()] if word else "",
        model=made.model_fingerprint,
        checkpoint_hash=made.checkpoint_hash,
        checkpoint=made.checkpoint,
        preparation={name: stated[name] for name in PREPARATION if name in stated},
        source=result.stem,
    )


def chosen_flip(
    limit: Threshold | None, flip: str | None, *, model: Any, preparation: Mapping[str, Any] | None = None
) -> Literal["none", "sum"]:
    """Return the flip to embed with: the one asked for, else that of the threshold, else "none". Pictures that become
    faces in another way (`preparation`) than it was measured in are warned of.

    Raises:
        ValueError: if it is neither "none" nor "sum", or the threshold is of another model or flip.
    """
    if flip not in (None, "none", "sum"):
        raise ValueError(f'flip must be "none" or "sum", got {flip!r}')
    measured = limit.mode.flip if limit is not None else ""
    chosen: Any = flip or measured or "none"
    if limit is not None:
        said = limit.check(model, flip=chosen, preparation=preparation)
        if said:
            log.warning("%s", said)
    return chosen  # type: ignore[no-any-return]


def _from_scores(scores: Any, is_same: Any, far: float) -> Threshold:
    impostors, genuine = np.sort(scores[~is_same]), np.sort(scores[is_same])
    _check_count(len(impostors), far)
    # The largest number of accepted impostors within the rate; ties at the threshold are accepted together.
    allowed = int(np.floor(far * len(impostors) * (1 + 1e-12)))
    if allowed >= len(impostors):
        cosine = float(min(impostors[0], genuine[0]) if len(genuine) else impostors[0])
    else:
        cosine = float(np.nextafter(impostors[len(impostors) - allowed - 1], np.inf, dtype=impostors.dtype))
    accepted = len(impostors) - int(np.searchsorted(impostors, cosine, side="left"))
    passed = len(genuine) - int(np.searchsorted(genuine, cosine, side="left"))
    return Threshold(
        cosine, accepted / len(impostors), passed / max(len(genuine), 1), len(impostors), _warning(len(impostors), far)
    )


def _from_curve(result: Result, far: float) -> Threshold:
    assert result.roc is not None
    num_impostors = result.counts.get("impostor", 0)
    _check_count(num_impostors, far)
    points = [
        point for point in zip(result.roc.far, result.roc.tar, result.roc.threshold, strict=True) if point[0] <= far
    ]
    if not points:
        raise ValueError(
            f"the ROC curve of {result.stem} begins at a FAR of {min(result.roc.far):g}, above the {far:g} asked for"
        )
    reached, tar, cosine = max(points, key=lambda point: (point[0], point[1]))
    return Threshold(cosine, reached, tar, num_impostors, _warning(num_impostors, far))


def _check_count(num_impostors: int, far: float) -> None:
    if num_impostors * far * (1 + 1e-12) < 1:
        lowest = math.ceil(1e4 / num_impostors) / 1e4 if num_impostors else 1.0
        remedy = f"take far={lowest:g} or more, or a result" if lowest < 1 else "take a result"
        raise ValueError(
            f"a FAR of {far:g} needs at least {round(1 / far)} impostor pairs, the result has {num_impostors}:"
            f" {remedy} of more pairs"
        )


def _warning(num_impostors: int, far: float) -> str:
    behind = int(num_impostors * far)
    return f"only {behind} impostor pairs stand behind this threshold" if behind < FEW_IMPOSTORS else ""
