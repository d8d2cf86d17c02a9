"""An encoder with one linear head for each answer: expression, age, attributes, points of one image at once.

Shapes: B images, D token width.
"""

from collections import namedtuple
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transface.backbones.features import EncodedImages, FaceFeatures, Output, as_output
from transface.backbones.weights.rebuild import rebuildable


@rebuildable
class HeadedNetwork(nn.Module):
    """Linear heads on the pooled tokens of an encoder, or on the embedding of a face backbone.

    Args of the constructor:
        encoder: images (B, 3, H, W) -> EncodedImages or FaceFeatures; with `image_size`.
        outputs: by name, an Output or a mapping of its fields; kinds one_of, several_of, number and points.
        dropout: share of the pooled features set to zero in training.

    Raises:
        ValueError: for no outputs, a kind that needs more than a linear head, or a name that is none.
    """

    def __init__(self, encoder: nn.Module, outputs: Mapping[str, Any], *, dropout: float = 0.0) -> None:
        super().__init__()
        if not outputs:
            raise ValueError("a network with heads needs at least one output")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        self.encoder: Any = encoder
        self.outputs: dict[str, Output] = {str(name): as_output(value) for name, value in outputs.items()}
        size: Any = encoder.image_size
        self.image_size = (int(size[0]), int(size[1]))
        self.dropout = nn.Dropout(dropout)
        features = int(getattr(encoder, "token_width", 0) or getattr(encoder, "embedding_size", 0))
        self.heads = nn.ModuleDict(
            {name: nn.Linear(features, _width_of(name, output)) for name, output in self.outputs.items()}
        )
        for head in self.heads.values():
            assert isinstance(head, nn.Linear)
            nn.init.trunc_normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)
        self._answer = namedtuple("Answers", tuple(self.outputs))  # type: ignore[misc]

    def features(self, images: Tensor) -> Tensor:
        """Return the pooled features (B, D) that the heads read."""
        encoded: EncodedImages | FaceFeatures = self.encoder(images)
        return encoded.pooled() if isinstance(encoded, EncodedImages) else encoded.embedding

    def answers(self, features: Tensor) -> Any:
        """Return the NamedTuple of answers to pooled features (B, D)."""
        features = self.dropout(features)
        found = {}
        for name, output in self.outputs.items():
            values = self.heads[name](features)
            if output.kind == "number":
                values = values.squeeze(1)
            elif output.kind == "points":
                scale = torch.tensor([self.image_size[1], self.image_size[0]], dtype=values.dtype, device=values.device)
                values = (values.unflatten(1, (-1, 2)) + 0.5) * scale
            found[name] = values
        return self._answer(**found)

    def forward(self, images: Tensor) -> Any:
        """Return a NamedTuple with the answers to images (B, 3, H, W), RGB float in [-1, 1]."""
        return self.answers(self.features(images))

    def layer_index(self, parameter_name: str) -> int:
        """Return the depth of a parameter for layer-wise learning rates: that of the encoder, the heads after all of
        it.
        """
        own = getattr(self.encoder, "layer_index", None)
        if own is None:
            return 0 if parameter_name.startswith("encoder.") else 1
        if parameter_name.startswith("encoder."):
            return int(own(parameter_name.removeprefix("encoder.")))
        return 1 + max(int(own(name)) for name, _ in self.encoder.named_parameters())


def _width_of(name: str, output: Output) -> int:
    widths = {
        "one_of": len(output.names),
        "several_of": len(output.names),
        "number": 1,
        "points": 2 * len(output.names),
    }
    if output.kind not in widths:
        raise ValueError(f"output {name} of kind {output.kind} needs more than a linear head: use {', '.join(widths)}")
    if not name.isidentifier():
        raise ValueError(f"the name of an output must be a word, got {name!r}")
    return widths[output.kind]
