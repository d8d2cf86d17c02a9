"""Any timm model as a face backbone: an encoder, then the same gate and neck as FaceViT.

Shapes: B faces, N patches, D token width, E embedding size. Images are RGB, float, in [-1, 1].
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from transface.backbones.features import FACE_OUTPUTS, FaceFeatures, check_embedding_size
from transface.backbones.parts.face_neck import FaceNeck
from transface.backbones.parts.patch_gate import PatchGate
from transface.backbones.timm_encoder import TimmEncoder
from transface.backbones.weights.finetuning import load_pretrained, parts_that_may_lack
from transface.backbones.weights.rebuild import rebuildable


@rebuildable
class TimmFace(TimmEncoder):
    """A timm model whose patch tokens are gated and all feed the embedding, as in FaceViT. Class and register tokens
    feed nothing.

    Args of the constructor:
        name, pretrained, image_size, input_size, num_registers, gradient_checkpointing, model_settings, registers_from:
            as TimmEncoder takes them.
        gate: "sigmoid" as in TransFace, or "none".
        neck_width: width between the two linear layers of the neck; by default the token width.
        layer_token_blocks: the blocks, counted from 0, whose patch tokens go into FaceFeatures.layer_tokens.
        weights: a file to start from, ours or plain timm weights; gate and neck may be fresh.

    Raises:
        ValueError: as TimmEncoder does, or for another gate.
    """

    outputs = FACE_OUTPUTS

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool = False,
        image_size: int | Sequence[int] = 112,
        input_size: int | Sequence[int] | None = None,
        embedding_size: int = 512,
        gate: Literal["sigmoid", "none"] = "sigmoid",
        neck_width: int | None = None,
        layer_token_blocks: Sequence[int] = (),
        num_registers: int | None = None,
        gradient_checkpointing: bool = False,
        model_settings: dict[str, Any] | None = None,
        weights: str | Path | None = None,
        registers_from: Literal["weights", "fresh"] = "weights",
    ) -> None:
        if gate not in {"sigmoid", "none"}:
            raise ValueError(f"gate must be 'sigmoid' or 'none', got {gate!r}")
        check_embedding_size(embedding_size)
        super().__init__(
            name,
            pretrained=pretrained,
            image_size=image_size,
            input_size=input_size,
            layers=layer_token_blocks,
            num_registers=num_registers,
            registers_from=registers_from,
            gradient_checkpointing=gradient_checkpointing,
            model_settings=model_settings,
        )
        self.embedding_size = embedding_size
        num_patches = self.grid_size[0] * self.grid_size[1]
        self.gate = PatchGate(num_patches, self.token_width) if gate == "sigmoid" else None
        self.neck = FaceNeck(num_patches, self.token_width, embedding_size, hidden_width=neck_width)
        if weights is not None:
            load_pretrained(self, weights, may_be_absent=parts_that_may_lack(registers_from))

    def forward(self, images: Tensor) -> FaceFeatures:
        """Return the FaceFeatures of images (B, 3, H, W), RGB float in [-1, 1]."""
        encoded = self.encode(images)
        tokens, importance = encoded.tokens, None
        if self.gate is not None:
            tokens, importance = self.gate(tokens)
        return FaceFeatures(self.neck(tokens), tokens, importance, encoded.layers or None)

    def patch_importance(self, images: Tensor) -> Tensor | None:
        """Return what ranks the patches (B, N), the gate before its sigmoid, without running the neck; None without a
        gate.
        """
        return None if self.gate is None else self.gate.ranking(self.encode(images).tokens)
