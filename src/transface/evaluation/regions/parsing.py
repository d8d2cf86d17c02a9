"""F1 of the regions of faces: one confusion table over all pixels of all photographs, the background apart.

Shapes: M images, R regions, H x W pixels of a photograph.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from transface.data.crops.canvases import CropSource, mask_of_size, refuse_other_shape
from transface.data.crops.dense_set import DenseSet, split_off_val
from transface.data.crops.geometry import regions_of_original
from transface.data.sources.dense.opening import DenseForm, open_dense
from transface.distributed import all_reduce_sum
from transface.evaluation.results import HardSample, Measure, Result, ResultTable
from transface.evaluation.runner import ModelRunner
from transface.metrics.regions import confusion_matrix, mean_f1, region_f1

NUM_HARDEST = 8


class Parsing:
    """A protocol: the region of every pixel of a split, mapped back to the photographs.

    Args:
        root, form: as open_dense takes them.
        output: the network's answer, of kind "regions".
        split: which images.
        space: "original": at the size of the photographs; "mask": at that of the masks (CelebAMask-HQ's 512, as
            published).
        absent: of a region that neither truth nor answers hold: "skip" leaves it out of the mean, "nan" makes it NaN.
        val_share, split_seed: as of training, where the set has no val.
        name: of the set in results; None: the folder's, and the split.

    Raises:
        FileNotFoundError, ValueError: as open_dense says.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        form: DenseForm | None = None,
        output: str = "parsing",
        split: str = "test",
        space: Literal["mask", "original"] = "mask",
        absent: Literal["skip", "nan"] = "skip",
        val_share: float = 0.1,
        split_seed: int = 0,
        name: str | None = None,
    ) -> None:
        if space not in ("mask", "original"):
            raise ValueError(f"space must be mask or original, got {space!r}")
        self.root = Path(root)
        self.form: DenseForm | None = form
        self.output, self.split, self.space, self.absent = output, split, space, absent
        self.val_share, self.split_seed = val_share, split_seed
        self.names = [name or f"{self.root.stem}_{split}"]
        self._opened: DenseSet | None = None

    def prepare(self) -> None:
        """Read the lists, so that what is missing is known before the first step."""
        self.opened().rows(self.split)

    def opened(self) -> DenseSet:
        """Return the set, read once."""
        if self._opened is None:
            found = open_dense(self.root, self.form)
            if found.mask is None:
                raise ValueError(f"{self.root} holds points and no regions: choose protocol=points")
            self._opened = found._replace(splits=split_off_val(found.splits, self.val_share, seed=self.split_seed))
        return self._opened

    def image_names(self) -> list[str]:
        """Return the names of the images that are measured on, as errors have them."""
        return self.opened().image_names(self.split)

    def evaluate(self, runner: ModelRunner, *, detailed: bool = True) -> list[Result]:
        """Return the Result: mean F1 without the background, F1 of each region, share of pixels that are right.

        Raises:
            ValueError: if the network has no such answer, or answers with another number of regions.
        """
        runner.require([self.output])
        opened = self.opened()
        count = len(runner.outputs[self.output].names)
        if count != len(opened.names):
            raise ValueError(
                f"{self.names[0]} has {len(opened.names)} regions, the network's {self.output} has {count}"
            )
        source = CropSource(self.names[0], opened, self.split)
        total = np.zeros((count, count), dtype=np.int64)
        right = np.zeros(len(source))
        for first, answers in runner.run_each(source, [self.output]):
            for place, logits in enumerate(answers[self.output], start=first):
                own = self._confusion(source, int(source.rows[place]), logits)
                total += own
                right[place] = own.trace() / max(own.sum(), 1)
        total = all_reduce_sum(torch.from_numpy(total).to(runner.device)).cpu().numpy()
        right = all_reduce_sum(torch.from_numpy(right).float().to(runner.device)).cpu().double().numpy()
        return [self._result(source, total, right, detailed=detailed)]

    def _confusion(self, source: CropSource, row: int, logits: NDArray[np.float32]) -> NDArray[np.int64]:
        opened = self.opened()
        assert opened.mask is not None
        truth, size = opened.mask(row), source.size(row)
        refuse_other_shape(truth, size, name=opened.name(row))
        matrix = source.matrix(row, logits.shape[-1])
        target = truth.shape if self.space == "mask" else size
        if target != size:  # from pixels of the mask to those of the photograph, then on to the crop
            scale = np.diag([size[1] / target[1], size[0] / target[0], 1.0])
            scale[:2, 2] = [(size[1] / target[1] - 1) / 2, (size[0] / target[0] - 1) / 2]
            matrix = matrix @ scale
        answered = regions_of_original(logits.transpose(1, 2, 0), matrix, opened.warp, (int(target[0]), int(target[1])))
        return confusion_matrix(mask_of_size(truth, (int(target[0]), int(target[1]))), answered, len(opened.names))

    def _result(
        self, source: CropSource, total: NDArray[np.int64], right: NDArray[np.float64], *, detailed: bool
    ) -> Result:
        opened = self.opened()
        scores = region_f1(total)
        known = {name: float(score) for name, score in zip(opened.names, scores, strict=True) if np.isfinite(score)}
        mean = mean_f1(scores, absent=self.absent)
        measures = [
            Measure(
                "f1", mean if np.isfinite(mean) else 0.0, warning="" if np.isfinite(mean) else "a region is absent"
            ),
            Measure("pixel_accuracy", float(total.trace() / max(total.sum(), 1))),
            Measure("majority", float(total.sum(1).max() / max(total.sum(), 1)), better=None),
        ]
        base: dict[str, Any] = {"protocol": "regions", "name": self.names[0], "mode": self.output, "kind": "regions"}
        counts = {"images": len(source), "regions": len(known)}
        if not detailed:
            return Result(**base, measures=tuple(measures), counts=counts)
        shares = total.sum(1) / max(total.sum(), 1)
        rows: dict[str, list[Measure | None]] = {
            name: [
                Measure("f1", known[name]) if name in known else None,
                Measure("share of pixels", float(share), better=None),
            ]
            for name, share in zip(opened.names, shares, strict=True)
        }
        worst = np.argsort(right, kind="stable")[:NUM_HARDEST]
        hardest = tuple(
            HardSample(int(k), opened.name(int(source.rows[k])), f"{100 * right[k]:.1f} % of pixels", "") for k in worst
        )
        names = "\0".join(opened.paths[int(row)] for row in source.rows)
        return Result(
            **base,
            measures=tuple(measures),
            counts=counts,
            tables={"Regions": ResultTable(["F1", "share of pixels"], rows)},
            hardest={"Fewest right pixels": hardest},
            samples_hash=hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest(),
            arrays={"confusion": total, "right": right},
        )
