"""Errors of landmarks in their original photographs: NME by every unit, the area under its curve, failures.

Shapes: M images, P points.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transface.data.crops.canvases import CropSource
from transface.data.crops.dense_set import DenseSet, split_off_val
from transface.data.crops.geometry import unwarp_points
from transface.data.crops.landmark_sets import LandmarkSet
from transface.data.sources.dense.opening import DenseForm, open_dense
from transface.evaluation.results import Curve, HardSample, Measure, Result, ResultTable
from transface.evaluation.runner import ModelRunner
from transface.metrics.bootstrap import mean_interval
from transface.metrics.points import box_unit, diagonal_unit, distance_between, error_curve, point_errors

NUM_HARDEST = 8
THRESHOLDS = {"inter_ocular": 0.10, "inter_pupil": 0.10, "box": 0.07, "diag": 0.07}


class Landmarks:
    """A protocol: points of a split, mapped back to the photographs.

    Args:
        root, form: as open_dense takes them.
        output: the network's answer, of kind "points".
        split: a subset's name is a split too ("valid_common").
        unit: the first measure's: "inter_ocular", "inter_pupil", "box" or "diag"; None: the published one of the set.
        thresholds: of AUC and failure rate, by unit; those left out as published (0.10 of the eyes, 0.07 of the box).
        val_share, split_seed: as of training, where the set has no val.
        num_bootstraps, seed: of intervals.
        name: of the set in results; None: the folder's, and the split.

    Raises:
        FileNotFoundError, ValueError: as open_dense says; for a unit that the set does not have.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        form: DenseForm | None = None,
        output: str = "landmarks",
        split: str = "test",
        unit: str | None = None,
        thresholds: dict[str, float] | None = None,
        val_share: float = 0.1,
        split_seed: int = 0,
        num_bootstraps: int = 1000,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        self.root = Path(root)
        self.form: DenseForm | None = form
        self.output, self.split, self.unit = output, split, unit
        self.thresholds = THRESHOLDS | dict(thresholds or {})
        if odd := sorted(set(self.thresholds) - set(THRESHOLDS)):
            raise ValueError(f"thresholds are of {', '.join(THRESHOLDS)}, got {', '.join(odd)}")
        self.val_share, self.split_seed = val_share, split_seed
        self.num_bootstraps, self.seed = num_bootstraps, seed
        self.names = [name or f"{self.root.stem}_{split}"]
        self._opened: DenseSet | None = None

    def prepare(self) -> None:
        """Read the lists, so that what is missing is known before the first step."""
        opened = self.opened()
        opened.rows(self.split)
        self._units(opened, opened.rows(self.split))

    def opened(self) -> DenseSet:
        """Return the set, read once."""
        if self._opened is None:
            found = open_dense(self.root, self.form)
            if found.points is None:
                raise ValueError(f"{self.root} holds regions and no points: choose protocol=regions")
            self._opened = found._replace(splits=split_off_val(found.splits, self.val_share, seed=self.split_seed))
        return self._opened

    def image_names(self) -> list[str]:
        """Return the names of the images that are measured on, as errors have them."""
        return self.opened().image_names(self.split)

    def evaluate(self, runner: ModelRunner, *, detailed: bool = True) -> list[Result]:
        """Return the Result.

        Raises:
            ValueError: if the network has no such answer, or answers with another number of points.
        """
        runner.require([self.output])
        opened = self.opened()
        assert opened.points is not None
        count = len(runner.outputs[self.output].names)
        if count != opened.points.shape[1]:
            raise ValueError(
                f"{self.names[0]} has {opened.points.shape[1]} points, and the network's {self.output} answers {count}"
            )
        source = CropSource(self.names[0], opened, self.split)
        answered = runner.run(source, [self.output])[self.output].astype(np.float64)
        side = runner.image_size_for([self.output])[0]
        predicted = np.stack(
            [
                unwarp_points(points, source.matrix(int(row), side), (side, side), opened.warp)
                for points, row in zip(answered, source.rows, strict=True)
            ]
        )
        return [self._result(source, predicted, detailed=detailed)]

    def _result(self, source: CropSource, predicted: NDArray[np.float64], *, detailed: bool) -> Result:
        opened, rows = self.opened(), source.rows
        assert opened.points is not None
        truth = opened.points[rows]
        units = self._units(opened, rows)
        errors = {unit: point_errors(predicted, truth, size) for unit, size in units.items()}
        measures: list[Measure] = []
        for unit, own in errors.items():
            measures += self._measures(unit, own, detailed=detailed)
        base: dict[str, Any] = {"protocol": "points", "name": self.names[0], "mode": self.output, "kind": "points"}
        counts = {"images": len(rows), "points": truth.shape[1]}
        if not detailed:
            return Result(**base, measures=tuple(measures), counts=counts)
        first = next(iter(errors))
        curve = error_curve(errors[first], self.thresholds[first])
        step = max(len(curve.errors) // 200, 1)
        shown = Curve(
            curve.errors[::step].tolist(), curve.share[::step].tolist(), f"error / {first}", "share of images"
        )
        distance = np.linalg.norm(predicted - truth, axis=-1) / units[first][:, None]
        table: dict[str, list[Measure | None]] = {
            name: [Measure(f"nme_{first}", float(value), better="lower")]
            for name, value in zip(opened.names, distance.mean(0), strict=True)
        }
        worst = np.argsort(-errors[first], kind="stable")[:NUM_HARDEST]
        hardest = tuple(
            HardSample(int(k), opened.name(int(rows[k])), f"{100 * errors[first][k]:.2f} % of {first}", "")
            for k in worst
        )
        digest = hashlib.sha256(np.ascontiguousarray(truth).tobytes())
        digest.update("\0".join(opened.paths[int(row)] for row in rows).encode("utf-8", "surrogateescape"))
        return Result(
            **base,
            measures=tuple(measures),
            counts=counts,
            curves={"Cumulative error": shown},
            tables={"Points": ResultTable([f"NME by {first}"], table)},
            hardest={"Largest errors": hardest},
            samples_hash=digest.hexdigest(),
            arrays={"error": errors[first], "predicted": predicted, "truth": truth},
        )

    def _measures(self, unit: str, errors: NDArray[np.float64], *, detailed: bool) -> list[Measure]:
        interval = mean_interval(errors, num_bootstraps=self.num_bootstraps, seed=self.seed) if detailed else None
        low, high = interval or (None, None)
        curve = error_curve(errors, self.thresholds[unit])
        at = f"{100 * self.thresholds[unit]:g}"
        return [
            Measure(f"nme_{unit}", float(errors.mean()), low, high, better="lower"),
            Measure(f"auc_{unit}@{at}", curve.auc),
            Measure(f"fr_{unit}@{at}", curve.failure_rate, better="lower"),
        ]

    def _units(self, opened: DenseSet, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Return the units (M,) of errors that the set has, the chosen one first."""
        assert opened.points is not None
        boxes = _tight_boxes(opened.points[rows]) if opened.landmarks is None else opened.boxes[rows]
        units = _eye_units(opened.landmarks, opened.points[rows])
        units |= {"box": box_unit(boxes), "diag": diagonal_unit(boxes)}
        first = self.unit or ("box" if opened.landmarks is None else opened.landmarks.unit)
        if first not in units:
            raise ValueError(f"{self.names[0]} has no unit {first!r}: it has {', '.join(units)}")
        if (bad := np.flatnonzero(~(units[first] > 0))).size:
            raise ValueError(f"{opened.name(int(rows[bad[0]]))}: its {first} is not positive")
        units = {unit: size for unit, size in units.items() if (size > 0).all()}
        return {first: units[first]} | units


def _eye_units(known: LandmarkSet | None, points: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    if known is None:
        return {}
    found = {"inter_ocular": distance_between(points, *known.eye_corners)}
    return found if known.pupils is None else found | {"inter_pupil": distance_between(points, *known.pupils)}


def _tight_boxes(points: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = points.min(1), points.max(1)
    return np.stack([low[:, 1], low[:, 0], high[:, 1], high[:, 0]], -1)
