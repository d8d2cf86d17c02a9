"""The neck that turns all tokens of a face into one embedding.

Shapes: B faces, N patches, D token width, E embedding size.
"""

from torch import Tensor, nn

from transface.backbones.parts.precision import in_precision_of

NORM_EPSILON = 2e-5


class FaceNeck(nn.Module):
    """flatten (B, N*D) -> Linear(D) -> BatchNorm -> Linear(E) -> BatchNorm, linears without bias, batch norms with
    epsilon 2e-5.

    `hidden_width` replaces D between the two linears.
    """

    def __init__(
        self, num_patches: int, token_width: int, embedding_size: int, *, hidden_width: int | None = None
    ) -> None:
        super().__init__()
        hidden = hidden_width or token_width
        self.project = nn.Linear(num_patches * token_width, hidden, bias=False)
        self.project_norm = nn.BatchNorm1d(hidden, eps=NORM_EPSILON)
        self.embed = nn.Linear(hidden, embedding_size, bias=False)
        self.embed_norm = nn.BatchNorm1d(embedding_size, eps=NORM_EPSILON)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return embeddings (B, E), not normalised, of tokens (B, N, D); in the precision of the neck's weights even
        under autocast.
        """
        with in_precision_of(self.project.weight, tokens) as exact:
            hidden = self.project_norm(self.project(exact.flatten(1)))
            return self.embed_norm(self.embed(hidden))
