"""What TransFace's parts do to a batch of faces at this moment of training: measured apart from the step, changing
nothing.

TransFace (ICCV 2023, arXiv 2308.10133). Shapes: B faces, N patches, F faces whose class centre this rank holds, E
embedding size.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transface.backbones.features import FaceFeatures
from transface.backbones.parts.evaluating import evaluating
from transface.images.pixels import normalise
from transface.systems.recognition.dpap import DPAP, PerturbedImages, score_patches
from transface.systems.recognition.ehsm import EHSM, token_entropy


class MethodView(NamedTuple):
    """A look at the method; what the model has not is None.

    Attributes:
        images: (B, 3, H, W) uint8.
        entropy: (B, N) of the gated tokens: the kind that EHSM weighs by, else the Gaussian.
        gate: (B, N), in (0, 1).
        ranking: (B, N), what orders the patches: as the gate does, and still where gates are 1 to machine precision.
        weights: (B,), of EHSM.
        center_cosines: (F,) of embeddings with their class centres.
        norms: (B,) of embeddings.
        perturbed: (B, 3, H, W) in [-1, 1], every image after DPAP.
        num_patches: DPAP's K.
        grid_size, patch_size: of the backbone.
    """

    images: Tensor
    entropy: Tensor | None
    gate: Tensor | None
    ranking: Tensor | None
    weights: Tensor | None
    center_cosines: Tensor | None
    norms: Tensor
    perturbed: Tensor | None
    num_patches: int | None
    grid_size: tuple[int, int]
    patch_size: int

    def distributions(self) -> dict[str, Tensor]:
        """Return the measured numbers by name, each (n,) and on the CPU, without those that are None or empty."""
        entropy = None if self.entropy is None else self.entropy.mean(dim=-1)
        named = {
            "token_entropy": entropy,
            "gate": self.gate,
            "ehsm_weight": self.weights,
            "center_cosine": self.center_cosines,
            "embedding_norm": self.norms,
        }
        return {
            name: values.detach().float().flatten().cpu()
            for name, values in named.items()
            if values is not None and values.numel()
        }


@torch.no_grad()
def look(
    images: Tensor,
    labels: Tensor,
    *,
    backbone: nn.Module,
    classifier: nn.Module | None = None,
    perturbation: nn.Module | None = None,
    weighting: nn.Module | None = None,
    generator: torch.Generator | None = None,
) -> MethodView:
    """Return the view of uint8 images (B, 3, H, W) with labels (B,): one forward in eval mode, and DPAP on every image.

    Flags of training, statistics and torch's own random state stay as they are.
    """
    with evaluating(backbone):
        # .forward: a compiled backbone would compile again for these shapes.
        features: FaceFeatures = backbone.forward(_faces(images, backbone))
    perturbed = ranking = None
    if features.patch_importance is not None:
        precision = perturbation.scoring_precision if isinstance(perturbation, DPAP) else None
        ranking = score_patches(backbone, _faces(images, backbone), precision)  # type: ignore[arg-type]
    if isinstance(perturbation, DPAP) and ranking is not None:
        perturbed = perturb_all(perturbation, backbone, images, generator).images
    return MethodView(
        images=images,
        entropy=None
        if features.tokens is None
        else token_entropy(features.tokens, weighting.entropy if isinstance(weighting, EHSM) else "gaussian"),
        gate=features.patch_importance,
        ranking=ranking,
        weights=weighting(features.tokens) if weighting is not None and features.tokens is not None else None,
        center_cosines=None if classifier is None else center_cosines(features.embedding, labels, classifier),
        norms=features.embedding.float().norm(dim=-1),
        perturbed=perturbed,
        num_patches=getattr(perturbation, "num_patches", None),
        grid_size=getattr(backbone, "grid_size", (0, 0)),
        patch_size=getattr(backbone, "patch_size", 0),
    )


def _faces(images: Tensor, backbone: nn.Module) -> Tensor:
    """Return uint8 images as floats, in float64 for a backbone in it."""
    double = any(parameter.dtype == torch.float64 for parameter in backbone.parameters())
    return normalise(images, dtype=torch.float64 if double else torch.float32)


def perturb_all(dpap: DPAP, backbone: nn.Module, images: Tensor, generator: torch.Generator | None) -> PerturbedImages:
    """Return every image after DPAP: as it is set, but for the probability."""
    certain = DPAP(dpap.num_patches, 1.0, dpap.alpha, quantize=dpap.quantize, scoring_precision=dpap.scoring_precision)
    return certain.perturb(_faces(images, backbone), backbone, generator=generator)  # type: ignore[arg-type]


def center_cosines(embeddings: Tensor, labels: Tensor, classifier: nn.Module) -> Tensor | None:
    """Return the cosines (F,) of embeddings (B, E) with the centres of their labels, of the classes this rank holds."""
    centers = getattr(classifier, "centers", None)
    if not isinstance(centers, Tensor) or getattr(classifier, "num_subcenters", 1) > 1:
        return None
    first, stop = getattr(classifier, "classes", (0, len(centers)))
    held = (labels >= first) & (labels < stop)
    return F.cosine_similarity(embeddings[held].float(), centers.detach()[labels[held] - first].float(), dim=-1)
