"""FaceViT, the transformer of TransFace: timm's patches and blocks, our patch gate and face neck.

TransFace (ICCV 2023, arXiv 2308.10133). Equations, deviations, tests: docs/papers/transface.md.
Registers (FG 2026, arXiv 2606.12036) and KP-RPE (CVPR 2024, arXiv 2403.14852): docs/papers/past_transface.md.
Shapes: B faces, N patches, R registers, D token width, E embedding size. Images are RGB, float, in [-1, 1].
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from timm.layers.patch_embed import PatchEmbed
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from transface.backbones.features import (
    FACE_OUTPUTS,
    FaceFeatures,
    check_embedding_size,
    check_registers,
    image_sides,
)
from transface.backbones.parts.face_neck import FaceNeck
from transface.backbones.parts.keypoint_positions import NUM_KEYPOINTS, KeypointPositions, aligned_keypoints
from transface.backbones.parts.patch_gate import PatchGate
from transface.backbones.parts.token_drop import drop_tokens, restore_tokens
from transface.backbones.weights.finetuning import load_pretrained, parts_that_may_lack
from transface.backbones.weights.rebuild import rebuildable

INIT_STD = 0.02


class EncodedTokens(NamedTuple):
    """Tokens (B, N, D) after the last norm, and those after each block asked for."""

    tokens: Tensor
    layer_tokens: tuple[Tensor, ...] | None


@rebuildable
class FaceViT(nn.Module):
    """A plain vision transformer without class token, whose gated tokens all feed the embedding.

    With image size 112 and patch size 9 the grid is 12 x 12 and the last 4 rows and columns of pixels are not seen.
    Token drop and stochastic depth (growing linearly to drop_path_rate) act in training only.
    Registers are learned tokens without a position that stand behind the patches in the blocks and the last norm; gate,
    neck, DPAP and EHSM see patch tokens only. Token drop leaves registers alone.
    With relative_positions="keypoints" attention has a bias by five points of the face: those given with a call, those
    of a predictor (`use_keypoints`), or those of the template of aligned faces.
    """

    outputs = FACE_OUTPUTS
    aligned_keypoints: Tensor

    def __init__(
        self,
        image_size: int | tuple[int, int] = 112,
        patch_size: int = 9,
        *,
        embed_dim: int = 512,
        depth: int = 12,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        embedding_size: int = 512,
        drop_path_rate: float = 0.0,
        token_drop_rate: float = 0.0,
        num_registers: int = 0,
        relative_positions: Literal["none", "keypoints"] = "none",
        gate: Literal["sigmoid", "none"] = "sigmoid",
        layer_token_blocks: Sequence[int] = (),
        gradient_checkpointing: bool = False,
        weights: str | Path | None = None,
        registers_from: Literal["weights", "fresh"] = "weights",
    ) -> None:
        """Build the model.

        Args:
            num_registers: R; 0 is the model without registers, to the bit.
            relative_positions: "keypoints" is KP-RPE; its layer starts at zero, which is plain attention.
            gate: "sigmoid" is TransFace; "none" is the plain ViT of arcface_torch, which ranks no patches.
            layer_token_blocks: the blocks, counted from 0, whose output goes into FaceFeatures.layer_tokens.
            gradient_checkpointing: recompute each block in backward: less memory, one more forward.
            weights: a file to start from, ours or released; gate and neck may be fresh (see weights/finetuning.py).
            registers_from: "weights" must hold the registers, or they start "fresh" where the weights have none.

        Raises:
            ValueError: naming the setting that is out of range.
        """
        super().__init__()
        self.image_size = image_sides(image_size)
        _check_sizes(
            self.image_size, patch_size, embed_dim=embed_dim, num_heads=num_heads, depth=depth, mlp_ratio=mlp_ratio
        )
        _check_settings(depth, token_drop_rate, drop_path_rate, gate, layer_token_blocks)
        if relative_positions not in {"none", "keypoints"}:
            raise ValueError(f"relative_positions must be 'none' or 'keypoints', got {relative_positions!r}")
        check_registers(num_registers, registers_from)
        self.patch_size = patch_size
        self.grid_size = (self.image_size[0] // patch_size, self.image_size[1] // patch_size)
        self.embedding_size = check_embedding_size(embedding_size)
        self.token_drop_rate = token_drop_rate
        self.num_registers = num_registers
        self.layer_token_blocks = tuple(layer_token_blocks)
        self.gradient_checkpointing = gradient_checkpointing
        num_patches = self.grid_size[0] * self.grid_size[1]

        self.patch_embed = PatchEmbed(self.image_size, patch_size, 3, embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, num_patches, embed_dim))
        # Without token drop nothing uses it, and DDP waits for the gradient of every parameter that asks for one.
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim), requires_grad=token_drop_rate > 0)
        # nn.LayerNorm, not timm's own default: its epsilon is the 1e-5 of the released model.
        # ReLU6 in place: neither the linear map before it nor its own backward needs what came in.
        activation: Any = partial(nn.ReLU6, inplace=True)
        block = partial(Block, embed_dim, num_heads, mlp_ratio, act_layer=activation, norm_layer=nn.LayerNorm)
        rates = [drop_path_rate * index / max(depth - 1, 1) for index in range(depth)]
        self.blocks = nn.ModuleList([block(drop_path=rate) for rate in rates])
        self.norm = nn.LayerNorm(embed_dim)
        self.gate = PatchGate(num_patches, embed_dim) if gate == "sigmoid" else None
        self.neck = FaceNeck(num_patches, embed_dim, embedding_size)
        self.register_tokens = nn.Parameter(torch.zeros(1, num_registers, embed_dim)) if num_registers else None
        self.register_buffer(
            "aligned_keypoints",
            aligned_keypoints(self.image_size) if relative_positions == "keypoints" else None,
            persistent=False,
        )
        self._keypoint_predictor: Callable[[Tensor], Tensor] | None = None
        self._initialise()
        # After all draws: it starts at zero, and everything else as without it.
        self.keypoint_positions = (
            KeypointPositions(self.grid_size, depth, num_heads) if relative_positions == "keypoints" else None
        )
        if weights is not None:
            load_pretrained(self, weights, may_be_absent=parts_that_may_lack(registers_from))

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=INIT_STD)
        nn.init.normal_(self.mask_token, std=INIT_STD)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # Last, so that everything else starts as without registers.
        if self.register_tokens is not None:
            nn.init.trunc_normal_(self.register_tokens, std=INIT_STD)

    def use_keypoints(self, predictor: Callable[[Tensor], Tensor] | None) -> None:
        """Take the key points of a call without any from a predictor: images (B, 3, H, W) -> (B, 5, 2), fractions of
        the image; None: from the template. It is not saved with the model.

        Raises:
            ValueError: if this model has no relative positions by key points.
        """
        self._require_keypoint_positions()
        # Not a part of this module: neither its weights nor its mode are the backbone's.
        object.__setattr__(self, "_keypoint_predictor", predictor)

    def _require_keypoint_positions(self) -> KeypointPositions:
        if self.keypoint_positions is None:
            raise ValueError(
                "this FaceViT takes no key points: build it with relative_positions='keypoints', or give none"
            )
        return self.keypoint_positions

    def _keypoints_of(self, images: Tensor, keypoints: Tensor | None) -> Tensor:
        if keypoints is None and self._keypoint_predictor is not None:
            with torch.no_grad():
                keypoints = self._keypoint_predictor(images)
        if keypoints is None:
            return self.aligned_keypoints.expand(images.shape[0], -1, -1)
        # Not len(): it would fix the batch of an exported graph.
        if keypoints.ndim != 3 or keypoints.shape[0] != images.shape[0] or keypoints.shape[1:] != (NUM_KEYPOINTS, 2):
            raise ValueError(
                f"keypoints must be ({images.shape[0]}, {NUM_KEYPOINTS}, 2), x and y of five points of each face as"
                f" fractions of the image, got {tuple(keypoints.shape)}"
            )
        return keypoints.to(images.device)

    def encode(self, images: Tensor, keypoints: Tensor | None = None) -> EncodedTokens:
        """Return the tokens (B, N, D) of images (B, 3, H, W) before gate and neck; keypoints (B, 5, 2) as of
        KP-RPE.
        """
        encodings: Sequence[Tensor | None] = [None] * len(self.blocks)
        if self.keypoint_positions is not None:
            encodings = self.keypoint_positions.encodings(self._keypoints_of(images, keypoints))
        elif keypoints is not None:
            self._require_keypoint_positions()
        # The patch embedding leaves a transposed view, and every layer norm that follows would lay its tokens out anew.
        tokens = self.patch_embed(images).contiguous() + self.pos_embed
        positions = kept = None
        if self.training and self.token_drop_rate > 0:
            tokens, positions = drop_tokens(tokens, self.token_drop_rate)
            kept = positions.argsort(dim=1)[:, : tokens.shape[1]] if self.keypoint_positions is not None else None
        num_kept = tokens.shape[1]
        if self.register_tokens is not None:
            tokens = torch.cat([tokens, self.register_tokens.to(tokens.dtype).expand(tokens.shape[0], -1, -1)], dim=1)
        layers = []
        recompute = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        for index, block in enumerate(self.blocks):
            inputs = (block, tokens, encodings[index], kept)
            tokens = checkpoint(self._block, *inputs, use_reentrant=False) if recompute else self._block(*inputs)
            if index in self.layer_token_blocks:
                layers.append(tokens[:, :num_kept] if self.num_registers else tokens)
        tokens = self.norm(tokens)
        if self.num_registers:
            # A copy in one piece: gate and neck flatten it.
            tokens = tokens[:, :num_kept].contiguous()
        if positions is not None:
            tokens = restore_tokens(tokens, positions, self.mask_token)
            layers = [restore_tokens(layer, positions, self.mask_token) for layer in layers]
        return EncodedTokens(tokens, tuple(layers) if self.layer_token_blocks else None)

    def _block(self, block: nn.Module, tokens: Tensor, encoding: Tensor | None, kept: Tensor | None) -> Tensor:
        if encoding is None:
            return block(tokens)
        positions = self._require_keypoint_positions()
        bias = positions.bias(encoding, kept=kept, num_registers=self.num_registers)
        return block(tokens, attn_mask=bias.to(_attention_dtype(tokens)))

    def forward(self, images: Tensor, keypoints: Tensor | None = None) -> FaceFeatures:
        """Return the FaceFeatures of images (B, 3, H, W), RGB float in [-1, 1]; keypoints (B, 5, 2) as of KP-RPE."""
        tokens, layer_tokens = self.encode(images, keypoints)
        importance = None
        if self.gate is not None:
            tokens, importance = self.gate(tokens)
        return FaceFeatures(self.neck(tokens), tokens, importance, layer_tokens)

    def patch_importance(self, images: Tensor, keypoints: Tensor | None = None) -> Tensor | None:
        """Return what ranks the patches (B, N), the gate before its sigmoid, without running the neck; None without a
        gate.
        """
        return None if self.gate is None else self.gate.ranking(self.encode(images, keypoints).tokens)

    def layer_index(self, parameter_name: str) -> int:
        """Return the depth of a parameter: 0 for the patch embedding, i + 1 for block i, depth + 1 for all after the
        blocks.
        """
        words = parameter_name.split(".")
        if words[0] in {"patch_embed", "pos_embed", "register_tokens", "keypoint_positions"}:
            return 0
        return int(words[1]) + 1 if words[0] == "blocks" else len(self.blocks) + 1


def _attention_dtype(tokens: Tensor) -> torch.dtype:
    """Return the type that attention computes in: autocast's, or that of the tokens."""
    kind = tokens.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tokens.dtype


def _check_sizes(
    image_size: tuple[int, int], patch_size: int, *, embed_dim: int, num_heads: int, depth: int, mlp_ratio: float
) -> None:
    if not 1 <= patch_size <= min(image_size):
        raise ValueError(f"patch_size must be between 1 and the side of the image {image_size}, got {patch_size}")
    if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
        raise ValueError(f"embed_dim must be a multiple of num_heads, both at least 1, got {embed_dim} and {num_heads}")
    if depth < 1 or embed_dim * mlp_ratio < 1:
        raise ValueError(f"depth must be at least 1 and mlp_ratio leave the MLP a width, got {depth} and {mlp_ratio}")


def _check_settings(
    depth: int, token_drop_rate: float, drop_path_rate: float, gate: str, layer_token_blocks: Sequence[int]
) -> None:
    if not (0 <= token_drop_rate < 1 and 0 <= drop_path_rate < 1):
        raise ValueError(
            f"token_drop_rate and drop_path_rate must be in [0, 1), got {token_drop_rate} and {drop_path_rate}"
        )
    if gate not in {"sigmoid", "none"}:
        raise ValueError(f"gate must be 'sigmoid' or 'none', got {gate!r}")
    if any(not 0 <= block < depth for block in layer_token_blocks):
        raise ValueError(f"layer_token_blocks must be blocks 0..{depth - 1}, got {tuple(layer_token_blocks)}")


def face_vit_t(**settings: Any) -> FaceViT:
    """Return FaceViT-T: width 256, depth 12; 24,466,944 parameters, 1.50 GMACs."""
    return FaceViT(**({"embed_dim": 256, "depth": 12, "drop_path_rate": 0.1, "token_drop_rate": 0.1} | settings))


def face_vit_s(**settings: Any) -> FaceViT:
    """Return FaceViT-S: width 512, depth 12; 86,660,864 parameters, 5.75 GMACs."""
    return FaceViT(**({"embed_dim": 512, "depth": 12, "drop_path_rate": 0.05, "token_drop_rate": 0.0} | settings))


def face_vit_b(**settings: Any) -> FaceViT:
    """Return FaceViT-B: width 512, depth 24; 124,471,040 parameters, 11.4 GMACs."""
    return FaceViT(**({"embed_dim": 512, "depth": 24, "drop_path_rate": 0.05, "token_drop_rate": 0.1} | settings))


def face_vit_l(**settings: Any) -> FaceViT:
    """Return FaceViT-L: width 768, depth 24; 271,630,336 parameters, 25.3 GMACs."""
    return FaceViT(**({"embed_dim": 768, "depth": 24, "drop_path_rate": 0.05, "token_drop_rate": 0.1} | settings))
