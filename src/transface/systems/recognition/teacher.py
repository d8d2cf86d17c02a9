"""A frozen recognition model teaches another: the student sees the changed faces (occluded, augmented), the teacher the
faces as they are.

Beside the margin, by the embedding losses of losses/embedding_distillation.py; MaskInv (FG 2021) is this with masks
drawn on the student's faces.
Shapes: B faces, E embedding size.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transface.backbones.features import FACE_OUTPUTS
from transface.losses.embedding_distillation import MARGIN, MARGIN_SCALE, EmbeddingLoss, embedding_distillation


class RecognitionTeacher(nn.Module):
    """A teacher and the loss by which it teaches. The teacher is neither trained nor saved.

    Args of the constructor:
        teacher: any opened model (transface.load: our runs, released weights, ONNX), a backbone, or {"path": FILE} of a
            model that `open` is to open.
        student_size: E of the student.
        kind: "cosine", "mse", "relational" or "margin".
        weight: of the loss; "mse" needs hundreds.
        teacher_size: of the teacher, where it does not tell.
        scale, margin: of kind "margin".

    Raises:
        ValueError: for an unknown kind, a negative weight, a scale or margin out of range or of another kind.
    """

    def __init__(
        self,
        teacher: nn.Module | Mapping[str, Any],
        *,
        student_size: int,
        kind: EmbeddingLoss = "cosine",
        weight: float = 1.0,
        teacher_size: int | None = None,
        scale: float | None = None,
        margin: float | None = None,
    ) -> None:
        super().__init__()
        if kind != "margin" and (scale is not None or margin is not None):
            raise ValueError(f"distillation.scale and .margin are of kind=margin, got kind={kind}: leave them null")
        self.scale = MARGIN_SCALE if scale is None else scale
        self.margin = MARGIN if margin is None else margin
        embedding_distillation(kind, torch.ones(1, 2), torch.ones(1, 2), scale=self.scale, margin=self.margin)
        if not weight >= 0:
            raise ValueError(f"distillation.weight must be 0 or more, got {weight}")
        self.kind: EmbeddingLoss = kind
        self.weight = weight
        self.student_size, self.teacher_size = student_size, teacher_size
        self.path = teacher["path"] if isinstance(teacher, Mapping) else None
        self.projector: nn.Module = nn.Identity()
        self._teacher: tuple[nn.Module, ...] = ()  # in a tuple: neither trained nor saved
        if not isinstance(teacher, Mapping):
            self._take(teacher)

    def open(self, open_model: Callable[[str], nn.Module]) -> None:
        """Open the teacher that was given as a path."""
        if not self._teacher and self.path is not None:
            self._take(open_model(self.path))

    def _take(self, teacher: nn.Module) -> None:
        network: Any = getattr(teacher, "backbone", teacher)
        answers = getattr(network, "outputs", FACE_OUTPUTS)
        if "embedding" not in answers:
            called = self.path or type(network).__name__
            raise ValueError(
                f"the teacher {called} answers {', '.join(answers)} and gives no embedding: give a recognition model"
            )
        self._teacher = (network.eval().requires_grad_(False),)
        width = int(self.teacher_size or network.embedding_size)
        if self.kind != "relational" and width != self.student_size:
            self.projector = nn.Linear(self.student_size, width, bias=False)

    @property
    def teacher(self) -> nn.Module:
        """The frozen teacher, in eval mode."""
        if not self._teacher:
            raise RuntimeError(f"the teacher {self.path} is not open: call open(transface.load) before training")
        return self._teacher[0]

    def check_student(self, student: nn.Module) -> None:
        """Raise ValueError where teacher and student take images of other sizes."""
        networks = (self.teacher, student)
        sizes = [tuple(int(side) for side in getattr(network, "image_size")) for network in networks]  # noqa: B009
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"the teacher takes images of {sizes[0]} pixels, the student of {sizes[1]}: they see the same faces"
            )

    def forward(self, embeddings: Tensor, whole: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the scalar loss of a student's embeddings (B, E) against the teacher's of the unchanged faces (B, 3,
        H, W); `labels` (B,) say who is on each.
        """
        first = next(self.teacher.parameters(), None)
        if first is not None and first.device != whole.device:
            self.teacher.to(whole.device)
        with torch.no_grad():
            taught = self.teacher(whole if first is None else whole.to(first.dtype)).embedding
        return embedding_distillation(
            self.kind,
            self.projector(embeddings),
            taught.to(embeddings.dtype),
            labels=labels,
            scale=self.scale,
            margin=self.margin,
        )
