"""IJB-B and IJB-C 1:1: faces are pooled to templates in eight modes, pairs of templates scored by cosine.

Mode NxDxFx: N1 keeps the feature norm, N0 normalises each face; D1 weights a face by its detector score; F1 adds that
of the flipped image. Images of one media in a template are averaged, the media summed, the sum normalised.
Shapes: M images, T templates, P pairs, E embedding size.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from torch import Tensor

IMAGE_BLOCK = 2048
TEMPLATE_BLOCK_BITS = 9
DIRECT_PAIRS = 1 << 18  # up to so many pairs, each is its own dot product in float64

Floats = NDArray[np.floating[Any]]


class IjbMode(NamedTuple):
    """How a face's feature is made. `str(mode)` gives the written form, e.g. N1D1F1."""

    keep_norm: bool
    detector_weight: bool
    flip_sum: bool

    def __str__(self) -> str:
        return f"N{self.keep_norm:d}D{self.detector_weight:d}F{self.flip_sum:d}"


ALL_MODES = tuple(IjbMode(n, d, f) for n in (True, False) for d in (True, False) for f in (True, False))


def parse_mode(text: str) -> IjbMode:
    """Return the mode of a string like N1D1F1; raises ValueError for any other."""
    for mode in ALL_MODES:
        if str(mode) == text:
            return mode
    raise ValueError(f"mode must be one of {', '.join(map(str, ALL_MODES))}, got {text!r}")


def parse_modes(modes: Sequence[str] | str) -> list[IjbMode]:
    """Return the modes of strings, of one string, or all eight for "all"; raises ValueError if there are none."""
    chosen = (
        list(ALL_MODES)
        if modes == "all"
        else [parse_mode(mode) for mode in ([modes] if isinstance(modes, str) else modes)]
    )
    if not chosen:
        raise ValueError("no modes to evaluate: give protocol.modes=[N1D1F1]")
    return chosen


class PooledTemplates(NamedTuple):
    """Templates in rising order of their id: `features` (T, E) float64 of unit norm, `ids` (T,)."""

    features: NDArray[np.float64]
    ids: NDArray[np.int64]


def pool_templates(
    embeddings: ArrayLike | Tensor,
    template_ids: ArrayLike | Tensor,
    media_ids: ArrayLike | Tensor,
    *,
    flipped: ArrayLike | Tensor | None = None,
    detector_scores: ArrayLike | Tensor | None = None,
    mode: str | IjbMode | None = None,
) -> PooledTemplates:
    """Return the template features of (M, E) face embeddings: media averaged, summed, normalised.

    Args:
        embeddings: of the images, or already of image plus flipped image. Memory-mapped arrays are read block by block.
        template_ids: (M,) whole numbers.
        media_ids: (M,) whole numbers; a media counts once in each template it is in.
        flipped: (M, E) embeddings of the flipped images, added to the others.
        detector_scores: (M,) weights of the faces.
        mode: None uses what is given and keeps the norm. A mode that needs detector scores refuses to go without; what
            it has no use for is left out, so that one call a mode makes all eight. F1 without `flipped` means that the
            embeddings hold the sum already.

    A template whose features sum to zero stays zero: its scores are 0.

    Raises:
        ValueError: if lengths differ, a value is not finite, or the mode lacks its detector scores.
    """
    faces, mirrored = (
        _as_rows(embeddings, "embeddings"),
        None if flipped is None else _as_rows(flipped, "flipped embeddings"),
    )
    templates = as_whole_numbers(_as_vector(template_ids, "template_ids", len(faces)), "template_ids")
    media = _as_vector(media_ids, "media_ids", len(faces))
    detector = (
        None
        if detector_scores is None
        else _as_vector(detector_scores, "detector_scores", len(faces)).astype(np.float64)
    )
    chosen = IjbMode(True, detector is not None, flipped is not None) if mode is None else mode
    chosen = parse_mode(chosen) if isinstance(chosen, str) else chosen
    if chosen.detector_weight and detector is None:
        raise ValueError(f"mode {chosen} weights faces by their detector score: give detector_scores")
    if mirrored is not None and mirrored.shape != faces.shape:
        raise ValueError(f"flipped embeddings must be {faces.shape} like the others, got {mirrored.shape}")
    ids, positions = np.unique(templates, return_inverse=True)
    weights = 1 / _images_of_same_media(positions, media)
    if chosen.detector_weight and detector is not None:
        weights *= detector
    if not np.isfinite(weights).all():
        raise ValueError(f"{int((~np.isfinite(weights)).sum())} detector scores are NaN or infinite")
    sums = _weighted_sums(faces, mirrored if chosen.flip_sum else None, positions, weights, unit=not chosen.keep_norm)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    if not np.isfinite(norms).all():
        broken = ids[~np.isfinite(norms[:, 0])]
        raise ValueError(f"embeddings of {len(broken)} templates hold NaN or infinity, the first is {broken[0]}")
    return PooledTemplates(sums / np.where(norms > 0, norms, 1), ids.astype(np.int64, copy=False))


def score_pairs(
    templates: PooledTemplates,
    first_ids: ArrayLike | Tensor,
    second_ids: ArrayLike | Tensor | None = None,
    *,
    device: str = "cpu",
) -> Floats:
    """Return the (P,) cosines of pairs of templates, in order.

    Give (P,) ids twice, or (P, 2) ids once. Up to 262,144 pairs are scored one by one in float64. More are read off
    products of blocks of templates in float32 (within 5e-7 of float64): the cost is that of the blocks, not of P times
    E.

    Raises:
        ValueError: if an id is of no template.
    """
    first, second = _pair_columns(first_ids, second_ids)
    left, right = rows_of(first, templates.ids), rows_of(second, templates.ids)
    if len(left) <= DIRECT_PAIRS:
        return _scores_one_by_one(templates.features, left, right)
    return _scores_by_blocks(torch.from_numpy(templates.features.astype(np.float32)).to(device), left, right)


def _as_rows(rows: ArrayLike | Tensor, name: str) -> Floats:
    if isinstance(rows, Tensor):
        rows = rows.detach().to(device="cpu", dtype=torch.promote_types(rows.dtype, torch.float32)).numpy()
    array = np.asanyarray(rows)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name} must be (M, E), a row for each image, got {array.shape}")
    return array


def _as_vector(values: ArrayLike | Tensor, name: str, length: int) -> NDArray[Any]:
    if isinstance(values, Tensor):
        values = (values.float() if values.dtype == torch.bfloat16 else values).detach().cpu().numpy()
    array = np.asarray(values)
    if array.shape != (length,):
        raise ValueError(f"{name} must hold one value for each of the {length} images, got {array.shape}")
    return array


def as_whole_numbers(values: ArrayLike | Tensor, name: str) -> NDArray[Any]:
    """Return ids as an array of integers, those of 15 million pairs not copied; raises ValueError if they are not whole
    numbers.
    """
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    if array.dtype.kind in "iu":
        return array
    if array.dtype == object:  # a column of whole numbers in a table that also holds names
        with suppress(TypeError, ValueError, OverflowError):
            exact = array.astype(np.int64)
            array = exact if (exact == array).all() else array
    if array.dtype.kind in "iu":
        return array
    if array.size and (array.dtype.kind != "f" or not np.isfinite(array).all() or (array != np.floor(array)).any()):
        raise ValueError(f"{name} must be whole numbers, got {array.dtype}, e.g. {array.ravel()[0]!s}")
    beyond = array[np.abs(array) >= 2.0**63] if array.size else array  # x86 and Arm turn these into other numbers
    if beyond.size:
        raise ValueError(f"{name} must be whole numbers that fit in 64 bits, got {beyond[0]!s}")
    return array.astype(np.int64)


def _images_of_same_media(positions: NDArray[np.intp], media: NDArray[Any]) -> NDArray[np.float64]:
    """(M,) how many images the same media has in the same template."""
    _, media_positions = np.unique(media, return_inverse=True)
    _, members, counts = np.unique(
        positions * (media_positions.max() + 1) + media_positions, return_inverse=True, return_counts=True
    )
    images: NDArray[np.float64] = counts[members].astype(np.float64)
    return images


def _weighted_sums(
    faces: Floats, mirrored: Floats | None, positions: NDArray[np.intp], weights: NDArray[np.float64], *, unit: bool
) -> NDArray[np.float64]:
    """(T, E) sums of weighted faces in float64, blocks of images side by side on the threads torch may use."""
    sums = np.zeros((int(positions.max()) + 1, faces.shape[1]))

    def sum_block(start: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        block = slice(start, start + IMAGE_BLOCK)
        rows = np.asarray(faces[block], np.float64)
        if mirrored is not None:
            rows = rows + mirrored[block]
        block_weights = weights[block]
        if unit:
            norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
            block_weights = block_weights / np.where(norms > 0, norms, 1)
        touched, members = np.unique(positions[block], return_inverse=True)
        pooling = sparse.csr_matrix((block_weights, (members, np.arange(len(rows)))), shape=(len(touched), len(rows)))
        return touched, pooling @ rows

    with _workers() as threads:
        # A few blocks at a time: the sums of a block whose images lie in no order are as large as the block.
        for first in range(0, len(faces), 16 * IMAGE_BLOCK):
            for touched, block_sums in threads.map(
                sum_block, range(first, min(first + 16 * IMAGE_BLOCK, len(faces)), IMAGE_BLOCK)
            ):
                sums[touched] += block_sums
    return sums


@contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """As many threads as torch may use, each computing on its own: teams of threads inside them would wait for each
    other.
    """
    count = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            yield threads
    finally:
        torch.set_num_threads(count)


def _pair_columns(
    first_ids: ArrayLike | Tensor, second_ids: ArrayLike | Tensor | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    first = as_whole_numbers(first_ids, "template ids of pairs")
    if second_ids is None:
        if first.ndim != 2 or first.shape[1] != 2:
            raise ValueError(f"pairs must be (P, 2) template ids, got {first.shape}")
        return first[:, 0], first[:, 1]
    second = as_whole_numbers(second_ids, "template ids of pairs")
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"the two lists of template ids must be of one length, got {first.shape} and {second.shape}")
    return first, second


def rows_of(wanted: NDArray[Any], ids: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the (P,) row of each wanted template id; raises ValueError naming one that is of no template."""
    rows = np.full(int(ids[-1]) + 1, -1, np.int32) if ids[0] >= 0 and ids[-1] < 50_000_000 else None
    if rows is None:
        found = np.searchsorted(ids, wanted).clip(max=len(ids) - 1).astype(np.int32)
        unknown = ids[found] != wanted
    else:
        rows[ids] = np.arange(len(ids), dtype=np.int32)
        within = len(wanted) == 0 or (int(wanted.min()) >= 0 and int(wanted.max()) < len(rows))
        found = rows[wanted] if within else rows[np.where((wanted < 0) | (wanted >= len(rows)), 0, wanted)]
        if within and (len(found) == 0 or int(found.min()) >= 0):
            return found
        unknown = (found < 0) | (wanted < 0) | (wanted >= len(rows))
    if unknown.any():
        first = wanted[int(np.argmax(unknown))]
        raise ValueError(f"{int(unknown.sum())} pairs name a template without images, the first is template {first}")
    return found


def _scores_one_by_one(features: NDArray[np.float64], left: NDArray[np.int32], right: NDArray[np.int32]) -> Floats:
    scores = np.empty(len(left))
    for start in range(0, len(left), IMAGE_BLOCK):
        block = slice(start, start + IMAGE_BLOCK)
        scores[block] = np.sum(features[left[block]] * features[right[block]], axis=1)
    return scores


def _scores_by_blocks(features: Tensor, left: NDArray[np.int32], right: NDArray[np.int32]) -> Floats:
    """Scores read off (rows of a block) x (the columns that its pairs name)."""
    num_templates = len(features)
    rows, row_of_pair = _compact(left, num_templates)
    if 2 * len(rows) * len(_compact(right, num_templates).distinct) > num_templates**2:
        # No gallery-and-probe structure: the symmetry halves the work instead.
        left, right = np.minimum(left, right), np.maximum(left, right)
        rows, row_of_pair = _compact(left, num_templates)
    blocks = (row_of_pair >> TEMPLATE_BLOCK_BITS).astype(
        np.uint8 if len(rows) >> TEMPLATE_BLOCK_BITS < 256 else np.uint16
    )
    scores = np.empty(len(left), np.float32)

    def score_block(number: int) -> None:
        pairs = np.flatnonzero(blocks == number)
        columns, column_of_pair = _compact(right[pairs], num_templates)
        first = number << TEMPLATE_BLOCK_BITS
        block = features[torch.from_numpy(rows[first : first + (1 << TEMPLATE_BLOCK_BITS)])]
        product = block @ features[torch.from_numpy(columns)].T
        places = (row_of_pair[pairs] - first).astype(np.int64) * len(columns) + column_of_pair
        scores[pairs] = product.flatten()[torch.from_numpy(places).to(features.device)].cpu().numpy()

    with _workers() as threads:
        list(threads.map(score_block, range(-(-len(rows) >> TEMPLATE_BLOCK_BITS))))
    return scores


class _Compact(NamedTuple):
    distinct: NDArray[np.int64]
    positions: NDArray[np.int32]


def _compact(values: NDArray[np.int32], limit: int) -> _Compact:
    """Return the distinct values below a limit, rising, and the position of each value among them."""
    present = np.zeros(limit, bool)
    present[values] = True
    distinct = np.flatnonzero(present)
    position = np.zeros(limit, np.int32)
    position[distinct] = np.arange(len(distinct), dtype=np.int32)
    return _Compact(distinct, position[values])
