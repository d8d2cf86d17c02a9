"""Where the five points of an aligned face lie: the template of ArcFace at any size.

Points are (x, y) in pixels, the centre of the first pixel being (0, 0), in the order left eye, right eye, nose, left
and right corner of the mouth, as the viewer sees them.
"""

import torch
from torch import Tensor

FACE_SIZE = 112
TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))


def template_points(size: int | tuple[int, int] = FACE_SIZE, *, margin: float = 0.0) -> Tensor:
    """Return the five points (5, 2) of an aligned face of `size`, float64.

    Squares are the 112x112 template scaled; those of a multiple of 128 (not of 112) have InsightFace's own, with a
    wider frame at the sides. At 112 x 96 (height x width) the template loses its outer columns; other rectangles hold
    the largest square template that is cut no more.

    Args:
        size: one side, or (height, width), in pixels.
        margin: how much more is seen around the face, as a share of its size: 0.2 shows a fifth more.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1 or not -1 < margin < float("inf"):
        raise ValueError(f"size must be at least 1 pixel and margin above -1, got {size} and {margin}")
    points = torch.tensor(TEMPLATE, dtype=torch.float64)
    if height == width and height % 128 == 0 and height % 112:
        points = points * (height / 128) + torch.tensor([8.0 * height / 128, 0.0], dtype=torch.float64)
    else:
        side = min(max(height, width), min(height, width) * FACE_SIZE / 96)
        points = points * (side / FACE_SIZE) + torch.tensor(
            [(width - side) / 2, (height - side) / 2], dtype=torch.float64
        )
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    return points if margin == 0 else centre + (points - centre) / (1 + margin)
