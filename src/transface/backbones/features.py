"""The contracts between a network and all that follows: what it answers by name, what an encoder and a face backbone
promise.

Shapes: B faces, E embedding size, N patches (tokens), P prefix tokens, D token width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

from torch import Tensor

OutputKind = Literal["embedding", "one_of", "several_of", "number", "points", "regions"]


class Output(NamedTuple):
    """One answer of a network: what kind it is, and what its entries are called.

    Attributes:
        kind: the form of the tensor the network gives:
            "embedding": (B, E), compared by its direction;
            "one_of": logits (B, C) of classes of which one holds;
            "several_of": logits (B, A) of labels each of which may hold;
            "number": (B,) the value in `unit`, or (B, 3) value, lower and upper end of its interval;
            "points": (B, P, 2) x and y in pixels of the network's image;
            "regions": logits (B, R, H, W) of the classes of every pixel.
        names: of the classes, labels, points or regions, in the order of that axis; empty for a number and an
            embedding.
        unit: of a number, e.g. "years".
        thresholds: of "several_of": the probability from which each label counts as given; empty: 0.5 for all.
    """

    kind: OutputKind
    names: tuple[str, ...] = ()
    unit: str = ""
    thresholds: tuple[float, ...] = ()


@runtime_checkable
class Network(Protocol):
    """What is trained, averaged, validated, saved, exported and opened: an nn.Module with named answers.

    Attributes:
        outputs: by name, what the fields of the NamedTuple are that a call returns; it may have fields besides.
        image_size: height and width in pixels of the images it takes.

    Calling it with images (B, 3, H, W), RGB float in [-1, 1], returns a NamedTuple with a field for each output.
    """

    outputs: Mapping[str, Output]
    image_size: tuple[int, int]

    def __call__(self, images: Tensor) -> Any: ...


def as_output(value: Any) -> Output:
    """Return an Output given as one, as a mapping of its fields (a config's), or as the list of them.

    Raises:
        ValueError: for anything else, another kind, or names where the kind has none or lacks them.

    Example:
        >>> as_output({"kind": "number", "unit": "years"}).unit
        'years'
    """
    try:
        found = (
            value if isinstance(value, Output) else Output(**value) if isinstance(value, Mapping) else Output(*value)
        )
    except TypeError as error:
        raise ValueError(f"an output is {{kind, names, unit, thresholds}}, got {value!r}: {error}") from None
    found = Output(found.kind, tuple(map(str, found.names)), str(found.unit), tuple(map(float, found.thresholds)))
    if found.kind not in get_args(OutputKind):
        raise ValueError(f"an output's kind is one of {', '.join(get_args(OutputKind))}, got {found.kind!r}")
    if (found.kind in ("embedding", "number")) == bool(found.names):
        raise ValueError(
            f"an output of kind {found.kind} {'has no names' if found.names else 'needs the names of its entries'}, got"
            f" {list(found.names)}"
        )
    if found.thresholds and len(found.thresholds) != len(found.names):
        raise ValueError(f"thresholds are one a label, got {len(found.thresholds)} for {len(found.names)} labels")
    return found


# What every face backbone answers.
FACE_OUTPUTS: Mapping[str, Output] = {"embedding": Output("embedding")}


class EncodedImages(NamedTuple):
    """What an encoder makes of a batch of images.

    Attributes:
        tokens: (B, N, D) patch tokens, row by row.
        prefix_tokens: (B, P, D) class token first, then registers; P is 0 where the encoder has none.
        layers: the patch tokens (B, N_l, D_l) after chosen layers, in the order of the layers.
        layer_prefix_tokens: (B, P, D_l) the prefix tokens after the same layers.
    """

    tokens: Tensor
    prefix_tokens: Tensor
    layers: tuple[Tensor, ...] = ()
    layer_prefix_tokens: tuple[Tensor, ...] = ()

    def pooled(self) -> Tensor:
        """Return one vector (B, D) an image: the class token where there is one, else the mean of the patch tokens."""
        return self.prefix_tokens[:, 0] if self.prefix_tokens.shape[1] else self.tokens.mean(1)


@runtime_checkable
class Encoder(Protocol):
    """What makes tokens of images (an nn.Module).

    Attributes:
        image_size: height and width in pixels of the images it takes.
        grid_size: rows and columns of its patch tokens.
        token_width: D.
        num_prefix_tokens: P.

    Calling it with images (B, 3, H, W), RGB float in [-1, 1], returns EncodedImages.
    """

    image_size: tuple[int, int]
    grid_size: tuple[int, int]
    token_width: int

    @property
    def num_prefix_tokens(self) -> int: ...

    def __call__(self, images: Tensor) -> EncodedImages: ...


def check_embedding_size(embedding_size: int) -> int:
    """Return the size of an embedding.

    Raises:
        ValueError: if it is below 1.
    """
    if embedding_size < 1:
        raise ValueError(f"embedding_size must be at least 1, got {embedding_size}")
    return embedding_size


def check_registers(num_registers: int | None, registers_from: str) -> None:
    """Raise where a setting of registers is out of its range.

    Raises:
        ValueError: naming it.
    """
    if num_registers is not None and num_registers < 0:
        raise ValueError(f"num_registers must be at least 0, got {num_registers}")
    if registers_from not in {"weights", "fresh"}:
        raise ValueError(f"registers_from must be 'weights' or 'fresh', got {registers_from!r}")


class FaceFeatures(NamedTuple):
    """What a backbone makes of a batch of faces.

    Attributes:
        embedding: (B, E), not normalised.
        tokens: (B, N, D) local tokens, already multiplied by their gate, or None if the backbone has none.
        patch_importance: (B, N), higher is more dominant, or None if the backbone ranks no patches.
        layer_tokens: tokens after chosen blocks, each (B, N, D), or None.
    """

    embedding: Tensor
    tokens: Tensor | None = None
    patch_importance: Tensor | None = None
    layer_tokens: tuple[Tensor, ...] | None = None


@runtime_checkable
class Backbone(Protocol):
    """What every face backbone (an nn.Module) offers: an encoder with gate and neck, or a network of its own kind.

    Attributes:
        outputs: {"embedding": ...}, as Network has them.
        embedding_size: E.
        image_size: height and width in pixels of the images it takes.
        patch_size: side of a patch in pixels, or 0 if it has no tokens.
        grid_size: rows and columns of patches, or (0, 0).

    Calling it with images (B, 3, H, W), RGB float in [-1, 1], returns FaceFeatures.
    """

    outputs: Mapping[str, Output]
    embedding_size: int
    image_size: tuple[int, int]
    patch_size: int
    grid_size: tuple[int, int]

    def __call__(self, images: Tensor) -> FaceFeatures: ...

    def patch_importance(self, images: Tensor) -> Tensor | None:
        """Return (B, N) what ranks the patches, in the order of FaceFeatures.patch_importance and without its
        saturation, or None; no neck is run.
        """
        ...


def image_sides(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width in pixels, given as one side or as both.

    Raises:
        ValueError: for another number of sides, or one below 1.
    """
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"image_size must be one side or (height, width) in pixels, got {image_size}")
    return sides[0], sides[1]
