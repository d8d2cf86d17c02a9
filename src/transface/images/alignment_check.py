"""Tells five points that cannot be those of an upright-numbered face from good ones: how well they fit the template,
and where the face lies.

Shapes: B faces.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from transface.images.alignment import FACE_SIZE, are_usable, inverse_points, similarity_transforms, template_points
from transface.told_once import warn_once

log = logging.getLogger(__name__)

FEWEST_PIXELS = 3.0  # between the eyes
REFUSED_RESIDUAL = 0.4  # of the distance between the eyes
SUSPECT_RESIDUAL = 0.25
OUTSIDE = 0.3  # share of the crop beyond the picture
NAMED = 5
CHUNK = 4096  # faces that are looked through at once
UNUSABLE = "the points are not finite or all in one place"
ORDER = "expected x, y of left eye, right eye, nose, left and right mouth corner, as the viewer sees them"


class AlignmentFit(NamedTuple):
    """How faces lie and how well their points fit the template.

    Attributes:
        eye_distance: (B,) pixels of the picture between the eyes.
        residual: (B,) root mean square distance of the aligned points from the template, as a share of the template's
            eye distance.
        exchanged: (B,) whether left and right are exchanged: such a face is mirrored.
    """

    eye_distance: Tensor
    residual: Tensor
    exchanged: Tensor


def fit_of_points(points: Tensor) -> AlignmentFit:
    """Return how the points (B, 5, 2) fit the template.

    Raises:
        ValueError: as `similarity_transforms`.
    """
    points = points.double()
    template = template_points()
    transforms = similarity_transforms(points, template)
    moved = points @ transforms[:, :, :2].mT + transforms[:, None, :, 2]
    template_distance = (template[1] - template[0]).norm()
    residual = (moved - template).square().sum(-1).mean(-1).sqrt() / template_distance
    eyes = points[:, 1] - points[:, 0]
    down = points[:, 3:].mean(1) - points[:, :2].mean(1)
    return AlignmentFit(eyes.norm(dim=-1), residual, eyes[:, 0] * down[:, 1] - eyes[:, 1] * down[:, 0] <= 0)


def share_outside(points: Tensor, picture: tuple[int, int] | Tensor) -> Tensor:
    """Return the share (B,) of each aligned crop that lies outside a picture of (height, width), or pictures (B, 2)."""
    transforms = similarity_transforms(points.double(), template_points())
    step = torch.linspace(0, FACE_SIZE - 1, 15, dtype=torch.float64)
    grid = torch.cartesian_prod(step, step)
    places = inverse_points(transforms, grid)
    limits = torch.as_tensor(picture, dtype=torch.float64).reshape(-1, 1, 2).flip(-1) - 0.5
    return 1 - ((places > -0.5) & (places < limits)).all(-1).double().mean(-1)


def refusals(points: Tensor, *, picture: tuple[int, int] | Tensor | None = None) -> list[str | None]:
    """Return why each of the faces (B, 5, 2) cannot be aligned, None for one that can.

    Args:
        picture: its (height, width), or those of a picture each (B, 2): faces mostly outside it are refused too.
    """
    usable = are_usable(points)
    if not bool(usable.all()):  # these have no fit
        own = picture[usable] if isinstance(picture, Tensor) else picture
        others = iter(refusals(points[usable], picture=own))
        return [next(others) if good else UNUSABLE for good in usable.tolist()]
    found = fit_of_points(points)
    outside = share_outside(points, picture) if picture is not None else torch.zeros(len(points))
    reasons: list[str | None] = []
    for eyes, residual, exchanged, beyond in zip(
        found.eye_distance.tolist(), found.residual.tolist(), found.exchanged.tolist(), outside.tolist(), strict=True
    ):
        if exchanged:
            reasons.append(f"left and right are exchanged, or the columns have another order: {ORDER}")
        elif residual > REFUSED_RESIDUAL:
            reasons.append(
                f"the points miss the template by {residual:.0%} of the distance between the eyes (at most"
                f" {REFUSED_RESIDUAL:.0%}): {ORDER}"
            )
        elif eyes < FEWEST_PIXELS:
            reasons.append(f"the eyes are {eyes:.1f} pixels apart, at least {FEWEST_PIXELS:g} are needed")
        elif beyond > OUTSIDE:
            reasons.append(f"{beyond:.0%} of the face lies outside the picture (at most {OUTSIDE:.0%})")
        else:
            reasons.append(None)
    return reasons


def check_points(points: Tensor, *, name: str, picture: tuple[int, int] | None = None) -> None:
    """Raise for a face (5, 2) that cannot be aligned, and warn of one that fits the template badly.

    Raises:
        ValueError: naming the picture and the reason.
    """
    (reason,) = refusals(points[None], picture=picture)
    if reason is not None:
        raise ValueError(f"{name} cannot be aligned: {reason}")
    residual = float(fit_of_points(points[None]).residual[0])
    if residual > SUSPECT_RESIDUAL:
        log.warning(
            "%s: its points miss the template by %.0f %% of the distance between the eyes: a profile, or wrong points",
            name,
            100 * residual,
        )


def check_listed_points(points: Tensor, names: Sequence[str], *, source: str, sizes: Tensor | None = None) -> None:
    """Look through the points (M, 5, 2) of a whole list before any picture is read: refuse a wrong order of columns or
    points of other pictures, warn of single faces.

    Args:
        names: of the pictures.
        source: what lists them.
        sizes: (M, 2) height and width of the pictures, infinite where not known.

    Raises:
        ValueError: if more than half of the faces cannot be aligned.
    """
    if not len(points):
        return
    reasons = []
    for start in range(0, len(points), CHUNK):
        rows = slice(start, start + CHUNK)
        reasons += refusals(points[rows], picture=None if sizes is None else sizes[rows])
    bad = [(name, reason) for name, reason in zip(names, reasons, strict=True) if reason is not None]
    if 2 * len(bad) > len(reasons):
        raise ValueError(
            f"{source}: the points of {len(bad)} of {len(reasons)} faces cannot be right; {bad[0][0]}: {bad[0][1]}"
        )
    if bad:
        some = "; ".join(f"{name}: {reason}" for name, reason in bad[:NAMED])
        warn_once(log, "%s: the points of %d of %d faces look wrong: %s", source, len(bad), len(reasons), some)
