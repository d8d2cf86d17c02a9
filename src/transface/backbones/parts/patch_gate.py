"""The patch gate of TransFace: one weight in (0, 1) per token, read from all tokens at once.

TransFace (ICCV 2023, arXiv 2308.10133). The same number ranks the patches for DPAP. Shapes: B faces, N patches, D token
width.
"""

from typing import NamedTuple

from torch import Tensor, nn

from transface.backbones.parts.precision import in_precision_of


class GatedTokens(NamedTuple):
    """Tokens times their gate (B, N, D), and the gate (B, N), which is the importance of each patch."""

    tokens: Tensor
    importance: Tensor


class PatchGate(nn.Module):
    """Squeeze-and-excitation over positions: flatten (B, N*D) -> Linear(N) -> ReLU -> Linear(N) -> sigmoid, no
    biases.
    """

    def __init__(self, num_patches: int, token_width: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(num_patches * token_width, num_patches, bias=False)
        self.excite = nn.Linear(num_patches, num_patches, bias=False)

    def ranking(self, tokens: Tensor) -> Tensor:
        """Return the gate before its sigmoid (B, N), of tokens (B, N, D), in the precision of the gate's weights even
        under autocast.

        It orders the patches as the gate does, and still tells them apart where the gate is 1 to machine precision.
        """
        with in_precision_of(self.squeeze.weight, tokens) as exact:
            return self.excite(self.squeeze(exact.flatten(1)).relu())

    def forward(self, tokens: Tensor) -> GatedTokens:
        """Return tokens (B, N, D) multiplied by their gate, and the gate."""
        importance = self.ranking(tokens).sigmoid()
        return GatedTokens(tokens * importance.unsqueeze(-1), importance)
