"""Answers for many pictures: each read once, its faces cut out by points where they are given, what fails listed with
its reason.

Shapes: F faces of a picture, h x w its pixels, H x W those of the network's image.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from transface.backbones.parts.sound_answers import BrokenAnswersError
from transface.images.alignment import align_image, similarity_transforms, template_points
from transface.images.alignment_check import check_points
from transface.images.detection import Detector, Policy
from transface.images.faces import as_bytes, find_faces
from transface.images.fit import Fit, fit_matrix
from transface.images.user_images import fitted, read_picture
from transface.images.user_points import why_no_points
from transface.inference.answers import plain_answer
from transface.inference.face_model import FaceModel

log = logging.getLogger(__name__)


class FoundFace(NamedTuple):
    """One face of a picture.

    Attributes:
        box: (4,) left, top, right, bottom in the picture's pixels, or None where nothing told it.
        points: (5, 2) in the picture's pixels, or None.
        outputs: the answers as plain values, by name; points in the picture's pixels, regions a (H, W) tensor of
            indices.
        score: the detector's, or None.
        back: (2, 3) from the pixels of the network's image, in which regions lie, to the picture's; None: the same.
    """

    box: list[float] | None
    points: list[list[float]] | None
    outputs: dict[str, Any]
    score: float | None = None
    back: list[list[float]] | None = None


class Prediction(NamedTuple):
    """One picture: its name, its faces, why it failed ("" where it did not), and its (height, width), upright."""

    image: str
    faces: list[FoundFace]
    error: str = ""
    size: tuple[int, int] | None = None


class _Cut(NamedTuple):
    """A face as the network sees it (3, H, W), and the (2, 3) transform from the network's pixels back to the
    picture's.
    """

    image: Tensor
    back: Tensor
    points: Tensor | None
    box: list[float] | None = None
    score: float | None = None


def predict_pictures(
    model: FaceModel,
    pictures: Sequence[tuple[str, Any]],
    *,
    points: Mapping[str, Any] | None = None,
    detector: Detector | None = None,
    faces: Policy = "all",
    outputs: Sequence[str] | None = None,
    fit: Fit = "refuse",
    batch_size: int = 64,
    progress: Callable[[int], object] = int,
) -> list[Prediction]:
    """Return a Prediction for every picture, in order.

    Embeddings of whole pictures that were resized are warned of: the network knows aligned faces.

    Args:
        pictures: (name, path or encoded bytes or array) of each.
        points: by name, five points (5, 2) or (F, 5, 2): each face is cut out and aligned; a picture without any fails.
            None: each picture is one face, cut out already.
        detector: finds the faces of each picture, of which `faces` says which are taken; a picture without any fails.
        outputs: names of the answers wanted; None: all.
        fit: what to do with a picture of another size that has no points (images/fit.py).
        batch_size: faces in one forward pass.
        progress: told how many pictures are done.

    Raises:
        ValueError: for a name the model does not answer, points and a detector, or answers that are no numbers for any
            face; where they are for others, those pictures fail.
    """
    if points is not None and detector is not None:
        raise ValueError("give points or a detector, not both")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    wanted = list(model.outputs) if outputs is None else list(outputs)
    found: list[Prediction] = []
    num_unaligned, as_it_is = 0, torch.eye(2, 3, dtype=torch.float64)
    for start in range(0, len(pictures), batch_size):
        group = pictures[start : start + batch_size]
        cuts: list[list[_Cut]] = []
        errors: list[str] = []
        sizes: list[tuple[int, int] | None] = []
        for name, picture in group:
            cuts.append([])
            errors.append("")
            sizes.append(None)
            try:
                pixels = read_picture(picture, name=name)
                sizes[-1] = (int(pixels.shape[1]), int(pixels.shape[2]))
                cuts[-1] = (
                    _cut(model, name, pixels, points=points, fit=fit)
                    if detector is None
                    else _found(model, name, pixels, detector, faces)
                )
            except (ValueError, OSError) as error:
                errors[-1] = " ".join(str(error).split())
        shown = [cut for own in cuts for cut in own]
        num_unaligned += sum(cut.points is None and not torch.equal(cut.back, as_it_is) for cut in shown)
        rows = _answered(model, shown, wanted, batch_size)
        if rows and all(isinstance(row, str) for row in rows) and not any(one.faces for one in found):
            raise ValueError(f"{group[0][0]} and all others: {rows[0]}")
        taken = 0
        for (name, _), own, reason, size in zip(group, cuts, errors, sizes, strict=True):
            answers = rows[taken : taken + len(own)]
            taken += len(own)
            reason = next((answer for answer in answers if isinstance(answer, str)), reason)
            told = [
                _face(model, wanted, cut, answer)
                for cut, answer in zip(own, answers, strict=True)
                if not reason and not isinstance(answer, str)
            ]
            found.append(Prediction(name, told, reason, size))
        progress(len(group))
    if num_unaligned and fit != "center_crop" and any(model.outputs[name].kind == "embedding" for name in wanted):
        log.warning(
            "%d of %d pictures are not %s and went in by fit=%s, but embeddings are of aligned faces: give a detector"
            " or points, or fit=center_crop for aligned faces of other proportions",
            num_unaligned,
            len(pictures),
            "x".join(map(str, model.image_size)),
            fit,
        )
    return found


def _cut(model: FaceModel, name: str, pixels: Tensor, *, points: Mapping[str, Any] | None, fit: Fit) -> list[_Cut]:
    if points is None:
        image = fitted(pixels[None], model.image_size, fit=fit, name=name)[0]
        move = fit_matrix((pixels.shape[1], pixels.shape[2]), model.image_size, fit=fit)
        return [_Cut(image, _inverse(move), None)]
    key = name if name in points else Path(name).name
    if key not in points:
        raise ValueError(why_no_points(points, name))
    rows = torch.as_tensor(points[key], dtype=torch.float64)
    rows = rows[None] if rows.ndim == 2 else rows
    for own in rows:
        check_points(own, name=name, picture=(pixels.shape[1], pixels.shape[2]))
    margin = face_margin(model)
    images = align_image(pixels, rows, size=model.image_size, margin=margin)
    forward = similarity_transforms(rows, template_points(model.image_size, margin=margin))
    return [_Cut(image, _inverse(move), own) for image, move, own in zip(images, forward, rows, strict=True)]


def _found(model: FaceModel, name: str, pixels: Tensor, detector: Detector, faces: Policy) -> list[_Cut]:
    ((found, reason),) = find_faces(
        detector,
        [as_bytes(pixels)],
        take=faces,
        size=model.image_size,
        margin=face_margin(model),
    )
    if not found:
        raise ValueError(reason)
    if reason is not None:
        log.warning("%s: %d faces are answered; %s", name, len(found), reason)
    points = torch.from_numpy(np.stack([face.points for face in found])).double()
    forward = similarity_transforms(points, template_points(model.image_size, margin=face_margin(model)))
    return [
        _Cut(face.image, _inverse(move), own, face.box.tolist(), face.score)
        for face, move, own in zip(found, forward, points, strict=True)
    ]


def face_margin(model: FaceModel) -> float:
    """Return how much more than an aligned face a model's network looks at, as a share of the face; 0 for most."""
    return float(getattr(model.backbone, "face_margin", 0.0))


def _inverse(transform: Tensor) -> Tensor:
    square = torch.cat([transform, transform.new_tensor([[0.0, 0.0, 1.0]])])
    return torch.linalg.inv(square)[:2]


def _answered(
    model: FaceModel, faces: Sequence[_Cut], wanted: Sequence[str], batch_size: int
) -> list[dict[str, Tensor] | str]:
    """Return the answers to every face, or why there are none: numbers that are none cost a picture and not the
    others.
    """
    if not faces:
        return []
    stacked = torch.stack([cut.image if cut.image.dtype == torch.uint8 else cut.image.float() for cut in faces])
    try:
        answers = model.predict(stacked, outputs=wanted, batch_size=batch_size)
    except BrokenAnswersError as error:
        if len(faces) > 1:
            halves = (faces[: len(faces) // 2], faces[len(faces) // 2 :])
            return [answer for half in halves for answer in _answered(model, half, wanted, batch_size)]
        return [f"its {error.name} is NaN, infinite or zero: broken weights, or a precision too low for them"]
    return [{name: rows[place] for name, rows in answers.items()} for place in range(len(faces))]


def _face(model: FaceModel, wanted: Sequence[str], cut: _Cut, rows: Mapping[str, Tensor]) -> FoundFace:
    answers = {}
    for name in wanted:
        row = rows[name]
        if model.outputs[name].kind == "points":
            row = row.double() @ cut.back[:, :2].T + cut.back[:, 2]
        answers[name] = plain_answer(model.outputs[name], row)
    back = cut.back.tolist()
    if cut.points is None:
        return FoundFace(None, None, answers, back=back)
    height, width = model.image_size
    corners = (
        torch.tensor([[0.0, 0.0], [width, 0.0], [0.0, height], [width, height]], dtype=torch.float64)
        @ cut.back[:, :2].T
        + cut.back[:, 2]
    )
    if cut.box is not None:
        return FoundFace(cut.box, cut.points.tolist(), answers, cut.score, back)
    box = [*corners.min(0).values.tolist(), *corners.max(0).values.tolist()]
    return FoundFace(box, cut.points.tolist(), answers, back=back)
