"""KP-RPE: an additive bias of attention that depends on where two tokens lie to one another and to five points of the
face.

KP-RPE (CVPR 2024, arXiv 2403.14852). Equations, deviations, tests: docs/papers/past_transface.md.
Shapes: B faces, N patches in rows and columns, L blocks, H heads, S buckets, M tokens that pass the blocks. Key points
(B, 5, 2) are x, y as fractions of the image, in the order left eye, right eye, nose, left and right corner of the
mouth, as the viewer sees them.
"""

import math

import torch
from torch import Tensor, nn

from transface.backbones.parts.precision import in_precision_of
from transface.face_template import template_points

NUM_KEYPOINTS = 5
MIRRORED_ORDER = (1, 0, 2, 4, 3)
RATIO = 1.9  # of all released models
NUM_BUCKETS = (2 * int(2 * RATIO) + 1) ** 2


def aligned_keypoints(image_size: tuple[int, int]) -> Tensor:
    """Return the key points (5, 2) of an aligned face: the template as fractions of height and width."""
    height, width = image_size
    return (template_points(image_size) / torch.tensor([width, height])).float()


def mirror_keypoints(keypoints: Tensor) -> Tensor:
    """Return the key points (..., 5, 2) of the mirrored image: x turned round, left and right exchanged."""
    turned = torch.stack([1 - keypoints[..., 0], keypoints[..., 1]], dim=-1)
    return turned[..., list(MIRRORED_ORDER), :]


def move_keypoints(keypoints: Tensor, sampling: Tensor) -> Tensor:
    """Return the key points (..., 5, 2) of an image that is warped by the sampling matrix (..., 2, 3) of grid_sample.

    The matrix leads from the output to the input, in coordinates -1..1. Where it mirrors, left and right are exchanged.
    """
    inverse = torch.linalg.inv(sampling[..., :2])
    moved = ((2 * keypoints - 1) - sampling[..., None, :, 2]) @ inverse.mT
    moved = moved / 2 + 0.5
    mirrors = (inverse[..., 0, 0] < 0)[..., None, None]
    return torch.where(mirrors, moved[..., list(MIRRORED_ORDER), :], moved)


def bucket_index(offset: int, ratio: float = RATIO) -> int:
    """Return the index of an offset along one axis: exact when near, in logarithmic steps when far, odd in the offset.

    d where |d| <= a; else sign(d) trunc(min(round(a + (b - a) ln(|d| / a) / ln(g / a)), b)), a = ratio, b = 2 a,
    g = 8 a.

    Example:
        >>> [bucket_index(offset) for offset in (-9, -1, 0, 1, 2, 3, 4, 13)]
        [-3, -1, 0, 1, 2, 2, 3, 3]
    """
    distance = abs(offset)
    if distance <= ratio:
        return offset
    far = round(ratio + ratio * math.log(distance / ratio) / math.log(8))
    return int(math.copysign(math.trunc(min(far, 2 * ratio)), offset))


def bucket_ids(grid_size: tuple[int, int], ratio: float = RATIO) -> Tensor:
    """Return the bucket (N, N) of each query (first) and key (second) of a grid of tokens, row by row."""
    rows, columns = grid_size
    half = int(2 * ratio)
    side = 2 * half + 1
    reach = max(rows, columns)
    index = torch.tensor([bucket_index(offset, ratio) + half for offset in range(1 - reach, reach)])
    row, column = (axis.flatten() for axis in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"))
    down = index[row[:, None] - row[None, :] + reach - 1]
    across = index[column[:, None] - column[None, :] + reach - 1]
    return side * down + across


def relative_keypoints(keypoints: Tensor, grid_size: tuple[int, int]) -> Tensor:
    """Return (B, N, 10): from each key point to the centre of each token, x and y, point by point."""
    rows, columns = grid_size
    y, x = torch.meshgrid(
        (torch.arange(rows).to(keypoints) + 0.5) / rows,
        (torch.arange(columns).to(keypoints) + 0.5) / columns,
        indexing="ij",
    )
    centers = torch.stack([x.flatten(), y.flatten()], dim=1)
    return (centers[None, :, None] - keypoints[:, None]).flatten(2)


class KeypointPositions(nn.Module):
    """One linear layer for the whole network, from relative key points to a bias for each block, head and bucket.

    It begins at zero, which is plain attention.

    Args of the constructor:
        grid_size: rows and columns of tokens.
        num_blocks, num_heads: L and H.
    """

    ids: Tensor

    def __init__(self, grid_size: tuple[int, int], num_blocks: int, num_heads: int) -> None:
        super().__init__()
        self.grid_size = grid_size
        self.num_blocks = num_blocks
        self.num_heads = num_heads
        self.register_buffer("ids", bucket_ids(grid_size), persistent=False)
        self.linear = nn.Linear(2 * NUM_KEYPOINTS, num_blocks * num_heads * NUM_BUCKETS)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def encodings(self, keypoints: Tensor) -> tuple[Tensor, ...]:
        """Return the encoding (B, H, N, S) of each block for key points (B, 5, 2); no gradient reaches the points."""
        relative = relative_keypoints(keypoints.detach().to(self.linear.weight.dtype), self.grid_size)
        with in_precision_of(self.linear.weight, relative) as exact:
            encoded = self.linear(exact)
        split = encoded.unflatten(2, (self.num_blocks, self.num_heads, NUM_BUCKETS))
        return tuple(split.permute(2, 0, 3, 1, 4).unbind(0))

    def bias(self, encoding: Tensor, *, kept: Tensor | None = None, num_registers: int = 0) -> Tensor:
        """Return the bias (B, H, M + R, M + R) of query and key before the softmax, from a block's encoding.

        Args:
            encoding: (B, H, N, S).
            kept: (B, M) which patches pass the blocks, in their order; None: all.
            num_registers: R tokens behind the patches, whose rows and columns have no bias.
        """
        if kept is None:
            ids = self.ids[None, None].expand(*encoding.shape[:2], -1, -1)
        else:
            rows = kept[:, None, :, None].expand(-1, encoding.shape[1], -1, encoding.shape[3])
            encoding = encoding.gather(2, rows)
            ids = self.ids[kept[:, :, None], kept[:, None, :]][:, None].expand(-1, encoding.shape[1], -1, -1)
        found = encoding.gather(3, ids)
        return nn.functional.pad(found, (0, num_registers, 0, num_registers)) if num_registers else found
