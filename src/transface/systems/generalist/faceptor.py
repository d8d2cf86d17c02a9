"""Faceptor: one encoder, task queries, two decoders and shared interpreters answer all tasks; Naive Faceptor: one head
a kind of task.

Faceptor (ECCV 2024, arXiv 2403.09500) section 3. Shapes: B images, N tokens, D token width, Q queries of a task.
"""

from collections import namedtuple
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from transface.backbones.features import EncodedImages, Output, OutputKind
from transface.backbones.weights.rebuild import rebuildable
from transface.losses.ages import mean_year, year_shares
from transface.systems.generalist.decoder.interpreters import (
    POINT_READERS,
    IdentityInterpreter,
    MapInterpreter,
    QueryValues,
    ValueInterpreter,
    upsampled_regions,
)
from transface.systems.generalist.decoder.layer_attention import LayerBias, LayerMemory, Memory
from transface.systems.generalist.decoder.naive_heads import ATTRIBUTE_LAYERS, DENSE_LAYERS, AttributeHead, DenseHead
from transface.systems.generalist.decoder.task_queries import TaskQueries
from transface.systems.generalist.decoder.token_decoder import TokenDecoder
from transface.systems.generalist.looks import clip_pixels, grouped_looks, looks_of
from transface.systems.generalist.merged_batches import merged
from transface.systems.generalist.tasks import Task, as_tasks

OUTPUT_KINDS: Mapping[str, OutputKind] = {
    "identity": "embedding",
    "age": "number",
    "attributes": "several_of",
    "expression": "one_of",
    "parsing": "regions",
    "landmarks": "points",
}


class LayerTokens(NamedTuple):
    """What the encoder made of some images.

    Attributes:
        tokens: by layer, (B, N, D).
        grid_size: rows and columns of the tokens.
    """

    tokens: dict[int, Tensor]
    grid_size: tuple[int, int]

    def maps(self) -> dict[int, Tensor]:
        """Return the maps (B, D, rows, columns) by layer."""
        return {layer: one.transpose(1, 2).unflatten(2, self.grid_size) for layer, one in self.tokens.items()}

    def split(self, counts: Sequence[int]) -> list["LayerTokens"]:
        """Return the tokens of consecutive numbers of images."""
        parts = {layer: one.split(list(counts)) for layer, one in self.tokens.items()}
        return [
            LayerTokens({layer: part[index] for layer, part in parts.items()}, self.grid_size)
            for index in range(len(counts))
        ]


class Generalist(nn.Module):
    """What Faceptor and Naive Faceptor share: an encoder, tasks, merged batches and readable answers.

    Attributes:
        second_stage: whether stages.py has frozen all but what Layer-Attention adds.
        points: what makes a point of a heat map, a name of POINT_READERS.

    A subclass gives `task_logits`. `encoder.layers` must hold the layers it reads.

    Raises:
        ValueError: if the encoder does not give a layer that is read.
    """

    second_stage = False
    points = "sigmoid"

    def __init__(self, encoder: nn.Module, tasks: Iterable[Any], read_layers: Iterable[int]) -> None:
        super().__init__()
        self.tasks = {task.name: task for task in as_tasks(tasks)}
        own: Any = encoder
        self.layers = tuple(own.layers)
        missing = sorted(set(read_layers) - set(self.layers))
        if missing:
            raise ValueError(
                f"layers {missing} are read but the encoder gives {list(self.layers)}: add them to encoder.layers"
            )
        self.encoder: Any = encoder
        self.image_size: tuple[int, int] = tuple(own.image_size)
        self.outputs: dict[str, Output] = {task.output: _output_of(task) for task in self.tasks.values()}
        self.embedding_size = max((task.num_outputs for task in self.tasks.values() if not task.has_queries), default=0)
        self._answer = namedtuple("Answers", tuple(self.outputs))  # type: ignore[misc]
        self.looks = looks_of(self.tasks.values(), self.image_size)

    def encode(self, images: Tensor) -> LayerTokens:
        """Return the tokens of the encoder's layers for images (B, 3, H, W).

        Raises:
            ValueError: for layers of another grid or width than the encoder's last.
        """
        encoded: EncodedImages = self.encoder(images)
        grid_of = getattr(self.encoder, "grid_of", None)
        grid = grid_of(*images.shape[2:]) if grid_of else self.encoder.grid_size
        last = (grid[0] * grid[1], self.encoder.token_width)
        odd = {
            layer: tuple(one.shape[1:])
            for layer, one in zip(self.layers, encoded.layers, strict=True)
            if tuple(one.shape[1:]) != last
        }
        if odd:
            raise ValueError(
                f"backbone.layers {list(odd)} have {' and '.join(f'{n} tokens of {w}' for n, w in odd.values())}, the"
                f" last has {last[0]} of {last[1]}: only layers of the last one's grid and width are read together"
            )
        return LayerTokens(dict(zip(self.layers, encoded.layers, strict=True)), grid)

    def task_logits(self, encoded: LayerTokens, names: Sequence[str]) -> dict[str, Tensor]:
        """Return what the named tasks say of encoded images, before any squashing: logits, maps (B, Q, h, w),
        embeddings.
        """
        raise NotImplementedError

    def forward_batches(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the logits of each task for a batch of its own, with one encoder pass for each image size.

        Raises:
            ValueError: for a batch of a task there is not.
        """
        unknown = sorted(images.keys() - self.tasks.keys())
        if unknown:
            raise ValueError(f"batches of {', '.join(unknown)} belong to no task; tasks are {', '.join(self.tasks)}")
        encoded = merged(self.encode, images, lambda one, counts: one.split(counts))
        return {name: self.task_logits(one, [name])[name] for name, one in encoded.items()}

    @property
    def face_margin(self) -> float:
        """How much more than an aligned face the network's image shows, as a share of the face: told by the region in
        which a task looks at the face alone, where it lies in the middle.
        """
        for task in self.tasks.values():
            if task.region:
                left, top, right, bottom = task.region
                if max(abs(left - top), abs(right - bottom), abs(left + right - 1)) < 1e-6:
                    return 1 / (right - left) - 1
        return 0.0

    def pixels(self, name: str, images: Tensor) -> Tensor:
        """Return images (B, 3, H, W), RGB float in [-1, 1], as the encoder is given them for a task."""
        return clip_pixels(images) if self.tasks[name].pixels == "clip" else images

    def forward(self, images: Tensor) -> Any:
        """Return a NamedTuple of all answers to images (B, 3, H, W): one encoder and one decoder pass for each size at
        which tasks look at them.
        """
        return self._answer(**self.answers(images, tuple(self.tasks)))

    def answers(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the readable answers of some tasks to images (B, 3, H, W) of the network's size, by output."""
        size = (int(images.shape[2]), int(images.shape[3]))
        found: dict[str, Tensor] = {}
        for look, own in grouped_looks(self.looks, names).items():
            seen = look.of(images)
            logits = self.task_logits(self.encode(self.pixels(own[0], seen)), own)
            found |= {self.tasks[name].output: self.readable(name, one, size) for name, one in logits.items()}
        return {self.tasks[name].output: found[self.tasks[name].output] for name in names}

    def readable(self, name: str, logits: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Return what a task's logits mean, in the form of its Output: years, points in pixels, region logits of every
        pixel, or as they are.
        """
        kind = self.tasks[name].kind
        if kind == "age":
            return mean_year(year_shares(logits))
        if kind == "parsing":
            return upsampled_regions(logits, image_size)
        if kind == "landmarks":
            height, width = image_size
            return POINT_READERS[self.points](logits) * logits.new_tensor([width, height]) - 0.5
        return logits

    def answering(self, outputs: Sequence[str]) -> nn.Module:
        """Return this network with some of its answers alone, at the size at which their tasks look at images.

        Raises:
            ValueError: for an output it does not have.
        """
        wanted = [task.name for task in self.tasks.values() if task.output in outputs]
        if not wanted or set(outputs) - set(self.outputs):
            raise ValueError(f"the network answers {', '.join(self.outputs)}, not {', '.join(outputs)}")
        sizes = {self.tasks[name].image_size for name in wanted}
        side = sizes.pop() if len(sizes) == 1 else None
        return TaskView(self, wanted, self.image_size if side is None else (side, side))

    def layer_index(self, parameter_name: str) -> int:
        """Return the depth of a parameter for layer-wise learning rates: that of the encoder, everything else after all
        of it.
        """
        if parameter_name.startswith("encoder."):
            return int(self.encoder.layer_index(parameter_name.removeprefix("encoder.")))
        return 1 + max(int(self.encoder.layer_index(name)) for name, _ in self.encoder.named_parameters())


class TaskView(nn.Module):
    """A network's answers to some of its tasks.

    Attributes:
        outputs: those answers by name.
        image_size: height and width in pixels of the images it takes.
        embedding_size: of the embedding, 0 where it is not asked.

    Args of the constructor:
        network: a Generalist.
        names: of the tasks.
        image_size: at which they look at images; where it is not the network's, images are taken as they are.
    """

    def __init__(self, network: Generalist, names: Sequence[str], image_size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.names = tuple(names)
        self.image_size = image_size
        self.outputs = {network.tasks[name].output: network.outputs[network.tasks[name].output] for name in names}
        self.embedding_size = network.embedding_size if "embedding" in self.outputs else 0
        self._answer = namedtuple("Answers", tuple(self.outputs))  # type: ignore[misc]

    def forward(self, images: Tensor) -> Any:
        """Return a NamedTuple of the answers to images (B, 3, H, W) of `image_size`."""
        own = self.network
        if self.image_size == own.image_size:
            return self._answer(**own.answers(images, self.names))
        size = (int(images.shape[2]), int(images.shape[3]))
        found: dict[str, Tensor] = {}
        for kind in dict.fromkeys(own.tasks[name].pixels for name in self.names):
            names = [name for name in self.names if own.tasks[name].pixels == kind]
            logits = own.task_logits(own.encode(own.pixels(names[0], images)), names)
            found |= {own.tasks[name].output: own.readable(name, one, size) for name, one in logits.items()}
        return self._answer(**{name: found[name] for name in self.outputs})


@rebuildable
class Faceptor(Generalist):
    """One encoder, dual decoder.

    Args of the constructor:
        encoder: images -> EncodedImages; its `layers` hold those of `read_layers`.
        tasks: rows of tasks.py.
        width: D of the decoders.
        num_heads, feedforward_width, num_layers: of the transformer decoder.
        read_layers: of the encoder; the first is the main one. One: stage 1; more: Layer-Attention.
        layer_bias: "none" as published; "task" or "head": a learned addend per task and layer, or per head too.
        values: what makes a number of a token: "shared", one linear layer for all as published, or "own", one a query.
        pixel_layers: of the encoder that the pixel decoder reads beside the main one; none as published.
        heat_bias: learned, added to every logit of the heat maps of landmarks, from this start; a negative one begins
            with maps that are dark all over, as they are but for their points. None: none, as published.
        points: what makes a point of a heat map: the mean cell weighted by the "sigmoid" as published, or by the
            "softmax", which learns from scratch and sharper.

    Raises of the constructor:
        ValueError: for a word that is none of these, or a setting that nothing would read.
    """

    def __init__(
        self,
        encoder: nn.Module,
        tasks: Iterable[Any],
        *,
        width: int = 256,
        num_heads: int = 8,
        feedforward_width: int = 2048,
        num_layers: int = 9,
        read_layers: Sequence[int] = (11,),
        layer_bias: str = "none",
        values: str = "shared",
        pixel_layers: Sequence[int] = (),
        heat_bias: float | None = None,
        points: str = "sigmoid",
    ) -> None:
        super().__init__(encoder, tasks, [*read_layers, *pixel_layers])
        if points not in POINT_READERS:
            raise ValueError(f"network.points must be {' or '.join(POINT_READERS)}, got {points!r}")
        if points == "softmax" and heat_bias is not None:
            raise ValueError(f"network.heat_bias={heat_bias}: points=softmax does not see what all cells share")
        self.points = points
        token_width = int(self.encoder.token_width)
        with_queries = {name: task.num_outputs for name, task in self.tasks.items() if task.has_queries}
        self.queries = TaskQueries(with_queries, width)
        self.memory = LayerMemory(token_width, width, read_layers)
        self.decoder = TokenDecoder(width, num_heads, feedforward_width, num_layers)
        if layer_bias not in ("none", "task", "head"):
            raise ValueError(f'layer_bias must be "none", "task" or "head", got {layer_bias!r}')
        heads = num_heads if layer_bias == "head" else 1
        self.layer_bias = (
            None if layer_bias == "none" else LayerBias(list(with_queries), len(read_layers), num_heads=heads)
        )
        identities = {task.num_outputs for task in self.tasks.values() if task.kind == "identity"}
        if len(identities) > 1:
            raise ValueError(f"all identity tasks share one embedding, got sizes {sorted(identities)}")
        kinds = [task for task in self.tasks.values() if task.has_queries]
        self.identity = IdentityInterpreter(token_width, identities.pop()) if identities else None
        if values not in ("shared", "own"):
            raise ValueError(f'network.values must be "shared" or "own", got {values!r}')
        counts = {task.name: task.num_outputs for task in kinds if not task.dense}
        self.value: nn.Module | None = None
        if counts:
            self.value = ValueInterpreter(width) if values == "shared" else QueryValues(counts, width)
        dense = any(task.dense for task in kinds)
        if pixel_layers and not dense:
            raise ValueError(f"network.pixel_layers={list(pixel_layers)}: no task is dense, so nothing would read them")
        self.map = MapInterpreter(width, token_width=token_width, layers=pixel_layers) if dense else None
        landmarks = any(task.kind == "landmarks" for task in kinds)
        self.heat_bias = nn.Parameter(torch.tensor(float(heat_bias))) if landmarks and heat_bias is not None else None

    def memory_of(self, encoded: LayerTokens) -> Memory:
        """Return what the decoder attends to."""
        return self.memory(encoded.tokens, encoded.grid_size)

    def memory_bias(self, counts: Mapping[str, int], memory: Memory) -> Tensor | None:
        """Return the addend to the attention scores of the queries of some tasks, or None where the published form has
        none.
        """
        cells = memory.grid_size[0] * memory.grid_size[1]
        return None if self.layer_bias is None else self.layer_bias(counts, cells)

    def task_logits(self, encoded: LayerTokens, names: Sequence[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        asked = [name for name in names if self.tasks[name].has_queries]
        if asked:
            memory = self.memory_of(encoded)
            queries = self.queries(*asked)
            tokens = self.decoder(queries, memory, self.memory_bias(queries.counts, memory))
            parts = dict(zip(asked, tokens.split(list(queries.counts.values()), 1), strict=True))
            found |= self._interpreted(parts, memory, encoded)
        for name in names:
            if not self.tasks[name].has_queries:
                assert self.identity is not None
                found[name] = self.identity(encoded.tokens[self.memory.layers[0]])
        return {name: found[name] for name in names}

    def _interpreted(self, tokens: Mapping[str, Tensor], memory: Memory, encoded: LayerTokens) -> dict[str, Tensor]:
        """Return logits and maps of the tokens of each task; the pixel decoder runs once for all dense ones."""
        found: dict[str, Tensor] = {}
        dense = [name for name in tokens if self.tasks[name].dense]
        if dense:
            assert self.map is not None
            maps = self.map(torch.cat([tokens[name] for name in dense], 1), memory.main_map(), encoded.tokens)
            found |= dict(zip(dense, maps.split([tokens[name].shape[1] for name in dense], 1), strict=True))
            if self.heat_bias is not None:
                found |= {n: found[n] + self.heat_bias for n in dense if self.tasks[n].kind == "landmarks"}
        for name in tokens.keys() - found.keys():
            assert self.value is not None
            own = (name,) if isinstance(self.value, QueryValues) else ()
            found[name] = self.value(tokens[name], *own)
        return found


@rebuildable
class NaiveFaceptor(Generalist):
    """One head for each kind of task, its body shared by the data sets of the kind.

    Args of the constructor:
        encoder: its `layers` hold those the heads read (3, 5, 7, 9, 11).
        tasks: rows of tasks.py.
        feature_width: of attribute heads.
        dense_channels: inside dense heads.
    """

    def __init__(
        self, encoder: nn.Module, tasks: Iterable[Any], *, feature_width: int = 512, dense_channels: int = 512
    ) -> None:
        rows = as_tasks(tasks)
        read = {11} | {
            layer for task in rows if task.has_queries for layer in (DENSE_LAYERS if task.dense else ATTRIBUTE_LAYERS)
        }
        super().__init__(encoder, rows, read)
        token_width = int(self.encoder.token_width)
        heads: dict[str, nn.Module] = {}
        for kind in dict.fromkeys(task.kind for task in rows):
            outputs = {task.name: task.num_outputs for task in rows if task.kind == kind}
            if kind == "identity":
                heads[kind] = IdentityInterpreter(token_width, next(iter(outputs.values())))
            elif kind in ("parsing", "landmarks"):
                heads[kind] = DenseHead(token_width, outputs, dense_channels)
            else:
                heads[kind] = AttributeHead(token_width, outputs, feature_width)
        self.heads = nn.ModuleDict(heads)

    def task_logits(self, encoded: LayerTokens, names: Sequence[str]) -> dict[str, Tensor]:
        maps = encoded.maps()
        found = {}
        for name in names:
            kind = self.tasks[name].kind
            head = self.heads[kind]
            found[name] = head(encoded.tokens[11]) if kind == "identity" else head(maps, name)
        return found


def _output_of(task: Task) -> Output:
    kind = OUTPUT_KINDS[task.kind]
    if kind == "number":
        return Output(kind, unit="years")
    if kind == "embedding":
        return Output(kind)
    return Output(kind, task.names or tuple(f"{task.kind}_{index}" for index in range(task.num_outputs)))
