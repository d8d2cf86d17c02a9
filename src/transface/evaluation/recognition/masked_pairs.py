"""Masked pairs: any pair set with drawn masks on one side or both, the same pixels in every run; and real ones, as MFR2
has them.

Shapes: N pairs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torchvision.io import encode_png

from transface.data.augment.occluders import Occluder, numbers_of_samples, points_in_pixels, template_shares
from transface.data.benchmarks.pairs import PairSet, read_pair_set
from transface.data.benchmarks.pairs_txt import read_pairs_txt
from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.protocol import check_settings, require_distinct_sets
from transface.evaluation.recognition.pair_results import IntervalSettings, require_both_classes
from transface.evaluation.recognition.pair_sets import PAIR_FARS, evaluate_pair_set
from transface.evaluation.results import Result
from transface.images.decoding import decode_images
from transface.images.headers import image_size

Sides = Literal["none", "one", "both"]


class MaskedPairs:
    """The protocol `masked_pairs`: verification when faces are masked.

    Args:
        files: .bin files, whose aligned faces get drawn masks; or folders with a pairs.txt (MFR2), taken as they are.
        occluder: what is drawn.
        sides: of which images of a pair: "one" (the second), "both"; several are evaluated one after the other, "none"
            is the price to compare with.
        image_size: side in pixels that images of folders are brought to (MFR2 has 160); .bin files must fit the
            network.
        flip, num_folds, fars, num_bootstraps, seed: as PairSets takes them; the seed also of the masks.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: for no side, or an unknown one.
    """

    def __init__(
        self,
        files: Sequence[str | Path],
        *,
        occluder: Occluder,
        sides: Sequence[Sides] = ("none", "one", "both"),
        image_size: int = 112,
        flip: bool = True,
        num_folds: int = 10,
        fars: Sequence[float] = PAIR_FARS,
        num_bootstraps: int = 1000,
        seed: int = 0,
    ) -> None:
        check_settings(fars=fars, num_bootstraps=num_bootstraps)
        if not sides or set(sides) - {"none", "one", "both"}:
            raise ValueError(f"protocol.sides are of none, one and both, got {list(sides)}")
        self.files = [Path(file) for file in files]
        if missing := [str(file) for file in self.files if not file.exists()]:
            raise FileNotFoundError(
                f"no pair set {', '.join(missing)}: protocol.files names .bin files or folders with a pairs.txt"
            )
        self.occluder = occluder
        self.sides = tuple(sides)
        self.image_size = image_size
        self.names = [name for file in self.files for name in self._names(file)]
        require_distinct_sets(self.names)
        if image_size < 1:
            raise ValueError(f"image_size must be at least 1 pixel, got {image_size}")
        self.flip, self.num_folds, self.fars, self.num_bootstraps, self.seed = (
            flip,
            num_folds,
            tuple(fars),
            num_bootstraps,
            seed,
        )
        self._sets: list[PairSet] | None = None

    def _names(self, file: Path) -> list[str]:
        if file.is_dir():
            return [file.name]
        return [file.stem if side == "none" else f"{file.stem}_{self.occluder.name}_{side}" for side in self.sides]

    def prepare(self) -> None:
        """Read the sets and draw the masks: their encoded images stay in memory."""
        self._read()

    def _read(self) -> list[PairSet]:
        if not self.files:
            raise ValueError("no pair sets to evaluate: give protocol.files=[lfw.bin,...]")
        if self._sets is None:
            self._sets = []
            for file in self.files:
                if file.is_dir():
                    self._sets.append(resized(read_pairs_folder(file), self.image_size))
                    continue
                whole = read_pair_set(file)
                for side, name in zip(self.sides, self._names(file), strict=True):
                    images = (
                        whole.images
                        if side == "none"
                        else masked_images(whole, self.occluder, side=side, seed=self.seed)
                    )
                    self._sets.append(PairSet(name, images, whole.is_same))
            for pair_set in self._sets:
                require_both_classes(pair_set.is_same, f"the pairs of {pair_set.name}")
        return self._sets

    def evaluate(self, embedder: Embedder, *, detailed: bool = True) -> list[Result]:
        """Return one Result a file and side."""
        settings = IntervalSettings(self.fars, self.num_bootstraps, self.seed, detailed)
        return [
            evaluate_pair_set(
                embedder, pair_set, flip=self.flip, num_folds=self.num_folds, settings=settings, protocol="masked_pairs"
            )
            for pair_set in self._read()
        ]


def masked_images(
    pair_set: PairSet, occluder: Occluder, *, side: Sides, seed: int = 0, batch_size: int = 128
) -> list[bytes | NDArray[np.uint8]]:
    """Return the images of a pair set, those of one side or both occluded, as PNG bytes; the others as they are.

    What is drawn on an image follows from its place in the set, the occluder's name and the seed.
    """
    found = list(pair_set.images)
    places = [index for index in range(len(found)) if side == "both" or index % 2 == 1]
    for start in range(0, len(places), batch_size):
        own = places[start : start + batch_size]
        encoded = [bytes(found[index]) for index in own]
        size = image_size(encoded[0])
        images = decode_images(encoded, size=size, names=[f"{index} of {pair_set.name}" for index in own])
        points = points_in_pixels(template_shares(), size).expand(len(own), -1, -1)
        numbers = numbers_of_samples(occluder, [f"{pair_set.name}/{index}" for index in own], seed=seed)
        for index, image in zip(own, occluder(images, numbers, points).images, strict=True):
            found[index] = encode_png(image, compression_level=1).numpy()
    return found


def resized(pair_set: PairSet, side: int) -> PairSet:
    """Return a pair set whose images are `side` pixels high and wide; those that are stay as they are."""
    images: list[bytes | NDArray[np.uint8]] = []
    for index, image in enumerate(pair_set.images):
        encoded = bytes(image)
        if image_size(encoded) != (side, side):
            pixels = decode_images([encoded], size=(side, side), fit="resize", names=[f"{index} of {pair_set.name}"])[0]
            encoded = encode_png(pixels.contiguous(), compression_level=1).numpy().tobytes()
        images.append(encoded)
    return PairSet(pair_set.name, images, pair_set.is_same)


def read_pairs_folder(folder: Path) -> PairSet:
    """Return the pairs of a folder of people with a pairs.txt; see data/benchmarks/pairs_txt.py.

    Raises:
        FileNotFoundError: no pairs.txt.
        ValueError: naming the first line that is no pair, or names no image or several.
    """
    path = folder / "pairs.txt"
    if not path.is_file():
        raise FileNotFoundError(f"no pairs.txt in {folder}")
    sides, is_same = read_pairs_txt(path, folder)
    images: list[bytes | NDArray[np.uint8]] = [(folder / image).read_bytes() for pair in sides for image in pair]
    return PairSet(folder.name, images, is_same)
