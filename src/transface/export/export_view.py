"""A network as exporters see it: images in, its named outputs as plain tensors out."""

from typing import Any

from torch import Tensor, nn

from transface.backbones.features import FACE_OUTPUTS, Output


class ExportView(nn.Module):
    """Calls a network and gives its outputs in their order: the tensor of the only one, a tuple of several.

    Attributes:
        outputs: by name, in that order.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network
        self.outputs: dict[str, Output] = dict(getattr(network, "outputs", FACE_OUTPUTS))

    def forward(self, images: Tensor) -> Any:
        """Return the raw outputs for images (N, 3, H, W), RGB float in [-1, 1]."""
        found = self.network(images)
        tensors = tuple(getattr(found, name) for name in self.outputs)
        return tensors[0] if len(tensors) == 1 else tensors
