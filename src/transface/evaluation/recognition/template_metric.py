"""IJB 1:1 verification as a torchmetrics class: feed faces from any rank, in any order; get TAR at FAR in every mode.

Shapes: M images, P pairs of templates, E embedding size, B faces of a batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torchmetrics import Metric

from transface.evaluation.recognition.template_pooling import parse_modes, pool_templates, score_pairs
from transface.metrics.tar_at_far import IJB_FARS, RULES, OperatingPoint, Rule, operating_points


class TemplateVerification(Metric):
    """Verification of templates, gathered from all ranks.

    `update(embeddings (B, E), flipped (B, E), positions (B,))`: of faces and of their mirrored images, not normalised;
    position p is image p of the lists, and one fed twice (a sampler's padding) counts once. `compute()` gives the
    operating points of each mode by its name, on every rank.

    Args:
        template_ids: (M,) of the images.
        media_ids: (M,) of the images.
        pair_templates: (P, 2) template ids.
        pair_is_same: (P,) whether both are one person.
        detector_scores: (M,) for modes D1.
        modes: e.g. ["N1D1F1"], or "all".
        fars: false accept rates.
        rules: which rules.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    embeddings: list[Tensor]
    positions: list[Tensor]

    def __init__(
        self,
        template_ids: ArrayLike,
        media_ids: ArrayLike,
        pair_templates: ArrayLike,
        pair_is_same: ArrayLike,
        *,
        detector_scores: ArrayLike | None = None,
        modes: Sequence[str] | str = ("N1D1F1",),
        fars: Sequence[float] = IJB_FARS,
        rules: Sequence[Rule] = RULES,
        **metric_arguments: Any,
    ) -> None:
        super().__init__(**metric_arguments)
        self.template_ids, self.media_ids, self.pair_templates = template_ids, media_ids, pair_templates
        self.pair_is_same, self.detector_scores = torch.as_tensor(pair_is_same).bool().numpy(), detector_scores
        self.modes, self.fars, self.rules = parse_modes(modes), tuple(fars), tuple(rules)
        self.add_state("embeddings", default=[], dist_reduce_fx="cat")
        self.add_state("positions", default=[], dist_reduce_fx="cat")

    def update(self, embeddings: Tensor, flipped: Tensor, positions: Tensor) -> None:
        """Take a batch; raises ValueError if its parts do not fit together."""
        if embeddings.ndim != 2 or flipped.shape != embeddings.shape or positions.shape != embeddings.shape[:1]:
            shapes = [tuple(part.shape) for part in (embeddings, flipped, positions)]
            raise ValueError(f"want embeddings (B, E), as many of the mirrored faces, and positions (B,), got {shapes}")
        self.embeddings.append(torch.stack([embeddings.detach().float(), flipped.detach().float()], dim=1))
        self.positions.append(positions)

    def compute(self) -> dict[str, list[OperatingPoint]]:
        """Return the operating points by mode; raises ValueError if some images were never fed, or as pool_templates
        and score_pairs.
        """
        rows = torch.cat(self.embeddings) if isinstance(self.embeddings, list) else self.embeddings
        positions = torch.cat(self.positions) if isinstance(self.positions, list) else self.positions
        num_images = len(torch.as_tensor(self.template_ids))
        seen = torch.zeros(num_images, dtype=torch.bool, device=positions.device)
        seen[positions] = True
        if not bool(seen.all()):
            raise ValueError(f"{int((~seen).sum())} of {num_images} images were not embedded")
        ordered = rows.new_empty(num_images, *rows.shape[1:])
        ordered[positions] = rows
        faces = ordered.cpu().numpy()
        found = {}
        for mode in self.modes:
            pooled = pool_templates(
                faces[:, 0],
                self.template_ids,
                self.media_ids,
                flipped=faces[:, 1],
                detector_scores=self.detector_scores,
                mode=mode,
            )
            scores = score_pairs(pooled, self.pair_templates)
            found[str(mode)] = operating_points(
                scores[self.pair_is_same], scores[~self.pair_is_same], self.fars, rules=self.rules
            )
        return found
