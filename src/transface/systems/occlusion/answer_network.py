"""The network of teachers and students: an encoder, and for each answer (expression, gender, age) a linear head on its
embedding.

Shapes: B images, E embedding size, C classes, K whole ages.
"""

from collections import namedtuple
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transface.backbones.features import EncodedImages, FaceFeatures, Output, as_output
from transface.backbones.weights.rebuild import rebuildable
from transface.losses.soft_targets import age_interval, expected_age

MEAN_AGE, SPREAD_OF_AGES = 33.0, 20.0  # what a regression starts from, in years


@rebuildable
class AnswerNetwork(nn.Module):
    """Answers by name, and the embedding they are read from.

    A number is a distribution over whole values 0 .. num_values - 1, whose mean and 90 % interval are the answer (B,
    3), or by `num_values=None` a regression (B,).

    Args of the constructor:
        encoder: images -> EncodedImages or FaceFeatures; with `image_size`.
        outputs: by name, an Output or a mapping of its fields; kinds one_of and number.
        num_values: K of the numbers.
        dropout: share of the embedding set to zero in training, before the heads.

    Raises:
        ValueError: for no outputs, another kind, or a dropout outside [0, 1).
    """

    def __init__(
        self, encoder: nn.Module, outputs: Mapping[str, Any], *, num_values: int | None = 117, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if not outputs:
            raise ValueError("a network needs at least one output: expression, gender, age, ...")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        self.encoder: Any = encoder
        self.outputs: dict[str, Output] = {str(name): as_output(value) for name, value in outputs.items()}
        for name, output in self.outputs.items():
            if output.kind not in ("one_of", "number"):
                raise ValueError(f"output {name} must be of kind one_of or number, got {output.kind}")
        self.num_values = num_values
        size: Any = encoder.image_size
        self.image_size = (int(size[0]), int(size[1]))
        self.embedding_size = int(getattr(encoder, "token_width", 0) or getattr(encoder, "embedding_size", 0))
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(self.embedding_size, self._width(output)) for name, output in self.outputs.items()}
        )
        for head in self.heads.values():
            assert isinstance(head, nn.Linear)
            nn.init.trunc_normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)
        self._distributions = tuple(
            name for name, output in self.outputs.items() if output.kind == "number" and num_values
        )
        fields = (*self.outputs, *(f"{name}_logits" for name in self._distributions), "embedding")
        self._answers = namedtuple("Answers", fields)  # type: ignore[misc]

    def _width(self, output: Output) -> int:
        return len(output.names) if output.kind == "one_of" else (self.num_values or 1)

    def embed(self, images: Tensor) -> Tensor:
        """Return the embedding (B, E), not normalised."""
        encoded: EncodedImages | FaceFeatures = self.encoder(images)
        return encoded.pooled() if isinstance(encoded, EncodedImages) else encoded.embedding

    def answer(self, embedding: Tensor) -> Any:
        """Return the answers to an embedding (B, E): the NamedTuple of `forward`."""
        features = self.dropout(embedding)
        found: dict[str, Tensor] = {"embedding": embedding}
        for name, output in self.outputs.items():
            values = self.heads[name](features)
            if name in self._distributions:
                found[f"{name}_logits"] = values
                values = torch.cat([expected_age(values)[:, None], age_interval(values.detach())], 1)
            elif output.kind == "number":
                values = MEAN_AGE + SPREAD_OF_AGES * values.squeeze(1)
            found[name] = values
        return self._answers(**found)

    def forward(self, images: Tensor) -> Any:
        """Return a NamedTuple: each output by name, `<number>_logits` (B, K) of distributions, `embedding` (B, E)."""
        return self.answer(self.embed(images))

    def layer_index(self, parameter_name: str) -> int:
        """Return the depth of a parameter, the heads deepest, where the encoder counts its layers."""
        own = parameter_name.removeprefix("encoder.")
        return int(self.encoder.layer_index(own if own != parameter_name else "heads"))
