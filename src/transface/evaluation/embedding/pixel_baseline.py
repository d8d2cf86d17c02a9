"""Raw pixels as an embedding: what comparing pictures without a model gets, the floor every report shows.

Shapes: B faces.
"""

import torch
from torch import Tensor, nn

from transface.backbones.features import FACE_OUTPUTS, FaceFeatures


class PixelBackbone(nn.Module):
    """Its embedding of a face is the face's own pixels, less their mean, so that the score of a pair is their
    correlation.
    """

    outputs = FACE_OUTPUTS

    patch_size = 0
    grid_size = (0, 0)

    def __init__(self, image_size: tuple[int, int] = (112, 112)) -> None:
        super().__init__()
        self.image_size = image_size
        self.embedding_size = 3 * image_size[0] * image_size[1]

    def forward(self, images: Tensor) -> FaceFeatures:
        """Return the pixels (B, 3 H W), RGB in [-1, 1], each face's mean taken off."""
        flat = images.flatten(1)
        return FaceFeatures(flat - flat.mean(1, keepdim=True))

    def patch_importance(self, images: Tensor) -> Tensor | None:
        """Return None: there are no patches."""
        return None

    @property
    def device(self) -> torch.device:
        """The CPU: there are no weights."""
        return torch.device("cpu")
