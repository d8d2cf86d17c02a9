"""The part of a backbone that leaves the house: images in, one tensor of embeddings out."""

from typing import Any

from torch import Tensor, nn


class EmbeddingOnly(nn.Module):
    """Calls a backbone and gives its embedding (N, E), not normalised, as the tools of this field expect."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone: Any = backbone

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings (N, E) of images (N, 3, H, W), RGB float in [-1, 1]."""
        embedding: Tensor = self.backbone(images).embedding
        return embedding
