"""The protocol `tinyface`: rank-1/5/20 of low-resolution probes against gallery matches and distractors."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.protocol import check_settings
from transface.evaluation.recognition.search_results import measure_searches
from transface.evaluation.results import Result
from transface.images.files import list_images, log_unread
from transface.images.sources import FaceFiles
from transface.metrics.identification import search

DISTRACTOR = -1


class TinyFaceLists(NamedTuple):
    """The image files, and who is on each of all of them, in this order (DISTRACTOR: nobody who is looked for)."""

    probes: list[Path]
    mates: list[Path]
    distractors: list[Path]
    people: NDArray[np.int64]


class TinyFace:
    """TinyFace 1:N: folders Probe, Gallery_Match, Gallery_Distractor (in `root` or root/Testing_Set); a file's name
    begins with its person's number and an underscore. Images are resized to what the backbone takes.

    Args:
        root: the folder.
        flip: add the mirrored image's embedding.
        ranks: k of the rank-k rates.
        num_bootstraps: replicates of the intervals, over people; 0: none.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        flip: bool = True,
        ranks: Sequence[int] = (1, 5, 20),
        num_bootstraps: int = 1000,
        seed: int = 0,
    ) -> None:
        check_settings(ranks=ranks, num_bootstraps=num_bootstraps)
        self.root, self.flip, self.ranks, self.num_bootstraps, self.seed = (
            Path(root),
            flip,
            tuple(ranks),
            num_bootstraps,
            seed,
        )
        self.names = ["tinyface"]

    def prepare(self) -> None:
        """List the images and the people on them."""
        self._list()

    def _list(self) -> TinyFaceLists:
        root = self.root / "Testing_Set" if (self.root / "Testing_Set").is_dir() else self.root
        listed = [list_images(root / folder) for folder in ("Probe", "Gallery_Match", "Gallery_Distractor")]
        for one in listed:
            log_unread(one.root, one.unread)
        probes, mates, distractors = (one.paths for one in listed)
        people = np.array([person_of(path) for path in (*probes, *mates)] + [DISTRACTOR] * len(distractors))
        if not np.isin(people[: len(probes)], people[len(probes) :]).any():
            raise ValueError(
                f"no probe of {root} has a mate in Gallery_Match: names begin with the person's number, the same in"
                " both"
            )
        return TinyFaceLists(probes, mates, distractors, people)

    def evaluate(self, embedder: Embedder, *, detailed: bool = True) -> list[Result]:
        """Return one Result.

        Raises:
            FileNotFoundError: if a folder is missing or empty.
            ValueError: if a file's name does not begin with a number, or no probe has a mate.
        """
        probes, mates, distractors, people = self._list()
        unit = embedder.embed(FaceFiles("tinyface", [*probes, *mates, *distractors], fit="stretch")).unit(
            flip=self.flip
        )
        searches = search(
            unit[: len(probes)],
            people[: len(probes)],
            unit[len(probes) :],
            people[len(probes) :],
            device=embedder.device,
        )
        measured = measure_searches(
            searches,
            people[: len(probes)],
            ranks=self.ranks,
            num_bootstraps=self.num_bootstraps if detailed else 0,
            seed=self.seed,
        )
        return [
            Result(
                kind="search",
                protocol="tinyface",
                name="tinyface",
                mode="F1" if self.flip else "F0",
                measures=measured.measures,
                counts={
                    "probes": len(probes),
                    "gallery": len(mates),
                    "distractors": len(distractors),
                    "images": len(unit),
                },
            )
        ]


def person_of(path: Path) -> int:
    """Return the number a file's name begins with; raises ValueError if it does not."""
    word = path.stem.split("_")[0]
    if not word.isdecimal():
        raise ValueError(f"{path}: the name should begin with the person's number and an underscore, e.g. 17_2.jpg")
    return int(word)
