"""Photographs made-up people: draws them by seed, renders, encodes as JPEG, on all cores.

Everything drawn at random comes from a numbered stream of a seed, so that sets made from one seed do not share people.
"""

import multiprocessing
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.io import encode_jpeg

from transface.data.loaders import collate_identity
from transface.synthetic.drawing import RenderedFaces, render_faces
from transface.synthetic.people import NUISANCE_COLUMNS, draw_identities, draw_nuisance

BATCH = 128
# Streams of random numbers under one seed.
TRAIN, PAIRS, TEMPLATES, FOLDERS = 0, 10, 20, 30
ATTRIBUTES, EXPRESSED, AGES = 40, 50, 60


def stream(seed: int, number: int) -> torch.Generator:
    """Return the generator of one of a seed's independent streams."""
    return torch.Generator().manual_seed((seed * 1_000_003 + number) & (2**63 - 1))


def draw_difficulties(num_images: int, generator: torch.Generator, difficulty: float | tuple[float, float]) -> Tensor:
    """Return (B,) difficulties: one number for all, or evenly from a range."""
    low, high = difficulty if isinstance(difficulty, tuple) else (difficulty, difficulty)
    return low + (high - low) * torch.rand(num_images, generator=generator)


class Album(NamedTuple):
    """Photographs to be rendered, person by person: traits (B, P) and circumstances (B, Q)."""

    traits: Tensor
    nuisance: Tensor


def draw_album(
    num_identities: int,
    images_per_identity: int,
    generator: torch.Generator,
    *,
    difficulty: float | tuple[float, float],
) -> Album:
    """Return equally many photographs of each of some new people.

    Raises:
        ValueError: if there are no people or no images of them.
    """
    if num_identities < 1 or images_per_identity < 1:
        raise ValueError(
            f"at least one person with one image was expected, got {num_identities} people x {images_per_identity}"
            " images"
        )
    traits = draw_identities(num_identities, generator).repeat_interleave(images_per_identity, dim=0)
    return Album(traits, draw_nuisance(len(traits), generator, draw_difficulties(len(traits), generator, difficulty)))


class FaceJpegs(NamedTuple):
    """Some photographs as files: `jpegs` and the landmarks (B, 5, 2)."""

    jpegs: list[bytes]
    landmarks: Tensor


def encode_faces(faces: RenderedFaces, nuisance: Tensor, *, width: int | None = None) -> FaceJpegs:
    """Return the faces as JPEG files of the quality that `nuisance` says, only the middle columns where a width is
    given.
    """
    if width is not None:
        left = (faces.images.shape[3] - width) // 2
        faces = faces._replace(images=faces.images[..., left : left + width].contiguous())
    qualities = nuisance[:, NUISANCE_COLUMNS["jpeg_quality"]].round().clamp(20, 100).int().tolist()
    jpegs = [
        encode_jpeg(image, quality).numpy().tobytes() for image, quality in zip(faces.images, qualities, strict=True)
    ]
    return FaceJpegs(jpegs, faces.landmarks)


class _Shots(Dataset[FaceJpegs | RenderedFaces]):
    """Batches of photographs, each drawn when it is asked for: by any process, always alike."""

    def __init__(
        self, traits: Tensor, nuisance: Tensor, *, encoded: bool, width: int | None = None, **words: Any
    ) -> None:
        self.parts = list(zip(traits.split(BATCH), nuisance.split(BATCH), strict=True))
        self.encoded, self.width, self.words = encoded, width, words

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> FaceJpegs | RenderedFaces:
        who, how = self.parts[index]
        faces = render_faces(who, how, **self.words)
        return encode_faces(faces, how, width=self.width) if self.encoded else faces


def _on_all_cores(shots: _Shots) -> Iterator[Any]:
    """Yield the batches in order, drawn by as many processes as there are cores; few of them are drawn here."""
    processes = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, len(shots) // 2)
    if (
        processes < 2
        or multiprocessing.current_process().daemon
        or "fork" not in multiprocessing.get_all_start_methods()
    ):
        yield from (shots[index] for index in range(len(shots)))
        return
    # fork: nobody's script has to be importable, and torch is there already.
    yield from DataLoader(
        shots, batch_size=None, collate_fn=collate_identity, num_workers=processes, multiprocessing_context="fork"
    )


def photographs(
    traits: Tensor, nuisance: Tensor, *, image_size: int = 112, crop: str = "aligned", width: int | None = None
) -> Iterator[FaceJpegs]:
    """Yield the encoded photographs of `traits` (B, P) under `nuisance` (B, Q), some hundreds at a time; `width` keeps
    the middle columns of each.
    """
    return _on_all_cores(_Shots(traits, nuisance, encoded=True, width=width, image_size=image_size, crop=crop))


def encode_all(traits: Tensor, nuisance: Tensor) -> list[bytes]:
    """Return the JPEG files of aligned photographs of `traits` (B, P) under `nuisance` (B, Q)."""
    return [jpeg for batch in photographs(traits, nuisance) for jpeg in batch.jpegs]


def render_all(traits: Tensor, nuisance: Tensor) -> Tensor:
    """Return the aligned photographs of `traits` (B, P) under `nuisance` (B, Q) as images (B, 3, 112, 112), uint8."""
    return torch.cat([faces.images for faces in _on_all_cores(_Shots(traits, nuisance, encoded=False))])
