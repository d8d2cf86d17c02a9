"""Full softmax: all class centres on each device, replicated like the backbone.

Shapes: B faces, E embedding size, C identities.
"""

import torch
from torch import Tensor, nn

from transface.classifiers.center_shards import check_sizes, first_centers
from transface.classifiers.head_products import PrecisionSetting, check_precision
from transface.classifiers.margin_cross_entropy import Measured, margin_terms, sample_losses
from transface.margins.margin import Margin
from transface.shapes import check_shape


class FullSoftmax(nn.Module):
    """Per-sample margin cross-entropy over all identities.

    Args:
        num_identities: C.
        embedding_size: E.
        margin: a module of transface.margins.
        chunk_size: how many classes are walked at once, or None for what suits the device.
        num_subcenters: K, centres of each class, of which the nearest counts (sub-centre ArcFace); those of a class are
            rows one after the other.
        matmul_precision: of the products with the centres: "float32", "tf32" or "bf16", all summed in float32; "auto"
            is float32 on the CPU, on a CUDA device bf16 under bfloat16 autocast and tf32 elsewhere.
        compile_chunks: what lies between the products goes through torch.compile, one pass over a chunk; its first step
            compiles, for seconds to a minute.
        seed: of the first centres, which are normal with standard deviation .01.

    Raises:
        ValueError: if a size is not positive.
    """

    def __init__(
        self,
        num_identities: int,
        embedding_size: int,
        margin: Margin,
        *,
        chunk_size: int | None = None,
        num_subcenters: int = 1,
        matmul_precision: PrecisionSetting = "auto",
        compile_chunks: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(num_identities, embedding_size, chunk_size=chunk_size, num_subcenters=num_subcenters)
        self.num_subcenters = num_subcenters
        self.matmul_precision = check_precision(matmul_precision)
        self.compile_chunks = compile_chunks
        self.num_identities, self.embedding_size, self.chunk_size = num_identities, embedding_size, chunk_size
        self.margin = margin
        self.centers = nn.Parameter(
            first_centers(0, num_identities * num_subcenters, embedding_size=embedding_size, seed=seed)
        )

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the losses (B,) of embeddings (B, E), not normalised, with labels (B,) int64."""
        found = self.terms(embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            return sample_losses(self.margin, found.terms, found.norms)

    def terms(self, embeddings: Tensor, labels: Tensor, *, classes: Tensor | None = None) -> Measured:
        """Return what the losses are made of; `classes` is PartialFC's and must be None."""
        assert classes is None, "all classes are walked"
        check_shape(embeddings, f"B {self.embedding_size}", name="embeddings")
        return margin_terms(
            embeddings,
            self.centers,
            labels=labels,
            margin=self.margin,
            chunk_size=self.chunk_size,
            num_subcenters=self.num_subcenters,
            matmul_precision=self.matmul_precision,
            compile_chunks=self.compile_chunks,
        )
