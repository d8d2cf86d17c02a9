"""What merging batches, decoding tasks jointly and the fused attention save in a step of a generalist.

    python benchmarks/generalist.py                      # a small encoder, on one core about a minute
    python benchmarks/generalist.py --width 768 --depth 12 --heads 12 --decoder 256 --layers 9 --batch 8
    python benchmarks/generalist.py --width 768 --depth 12 --heads 12 --decoder 256 --layers 9 --batch 1 --predict

Ways take turns; told are medians over the rounds, and their ratios. Merged: all batches of one size pass the encoder
together. Joint: the queries of six tasks pass the decoder at once, hidden from each other: each task's see themselves
alone; beside it one self-attention of all under a mask. Fused: attention by one kernel against the published way, which
also gives its averaged weights. --predict: forward passes alone, of what predicting asks for: one task against six, of
the decoder and of the whole network.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transface.backbones.clip_vit import ClipViT
from transface.systems.generalist.decoder.layer_attention import Memory
from transface.systems.generalist.decoder.task_queries import Queries
from transface.systems.generalist.faceptor import Faceptor
from transface.systems.generalist.tasks import Task

COUNTS = {"age": 101, "attributes": 40, "expression": 7, "parsing": 19, "landmarks": 68, "cofw": 29}
KINDS: Mapping[str, Any] = {"cofw": "landmarks"}


def build(own: argparse.Namespace) -> Faceptor:
    """Return a Faceptor of these sizes with six tasks that have queries."""
    tasks = [Task(name, KINDS.get(name, name), count, own.batch) for name, count in COUNTS.items()]
    encoder = ClipViT(
        image_size=own.side,
        position_size=own.side,
        patch_size=own.patch,
        width=own.width,
        depth=own.depth,
        num_heads=own.heads,
        drop_path=0.0,
        layers=[own.depth - 1],
    )
    return Faceptor(encoder, tasks, width=own.decoder, num_layers=own.layers, read_layers=[own.depth - 1])


def averaged_weights(model: Faceptor, queries: Queries, memory: Memory) -> Tensor:
    """Return the decoder's tokens the published way: every cross-attention also gives its averaged weights."""
    tokens = queries.content.expand(memory.tokens.shape[0], -1, -1)
    for layer in model.decoder.layers:
        own: Any = layer
        keys = memory.tokens + memory.positions
        weights = own.cross_attention.weights(tokens + queries.position, keys)
        weights.mean(1).clone()
        values = F.linear(memory.tokens, *_values_of(own.cross_attention)).unflatten(
            2, (own.cross_attention.num_heads, -1)
        )
        read = own.cross_attention.out_proj((weights @ values.transpose(1, 2)).transpose(1, 2).flatten(2))
        tokens = own.cross_norm(tokens + read)
        located = tokens + queries.position
        seen = own.self_attention(located, located, tokens, blocks=list(queries.counts.values()))
        tokens = own.self_norm(tokens + seen)
        tokens = own.feedforward_norm(tokens + own.linear2(F.relu(own.linear1(tokens))))
    return tokens


def under_one_mask(model: Faceptor, queries: Queries, memory: Memory) -> Tensor:
    """Return the decoder's tokens with one self-attention over all queries, a mask hiding those of other tasks."""
    tokens = queries.content.expand(memory.tokens.shape[0], -1, -1)
    counts = torch.tensor(list(queries.counts.values()))
    task = torch.repeat_interleave(torch.arange(len(counts)), counts)
    mask = torch.zeros(len(task), len(task)).masked_fill(task[:, None] != task, -torch.inf)
    for layer in model.decoder.layers:
        own: Any = layer
        read = own.cross_attention(tokens + queries.position, memory.tokens + memory.positions, memory.tokens)
        tokens = own.cross_norm(tokens + read)
        located = tokens + queries.position
        tokens = own.self_norm(tokens + own.self_attention(located, located, tokens, mask))
        tokens = own.feedforward_norm(tokens + own.linear2(F.relu(own.linear1(tokens))))
    return tokens


def _values_of(attention: nn.Module) -> tuple[Tensor, Tensor]:
    own: Any = attention
    return own.in_proj_weight.chunk(3)[2], own.in_proj_bias.chunk(3)[2]


def ways_of(model: Faceptor, own: argparse.Namespace) -> dict[str, Callable[[], Tensor]]:
    """Return what is timed, by name; each gives one number to differentiate."""
    images = {name: torch.randn(own.batch, 3, own.side, own.side) for name in COUNTS}
    with torch.no_grad():
        encoded = model.encode(images["age"])
    together = model.queries(*COUNTS)
    one = model.queries("landmarks")

    def sum_of(logits: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([part.mean() for part in logits.values()]).sum()

    return {
        "merged encoder passes": lambda: sum_of(model.forward_batches(images)),
        "one encoder pass a task": lambda: sum_of(
            {name: model.task_logits(model.encode(batch), [name])[name] for name, batch in images.items()}
        ),
        "one task decoded": lambda: model.decoder(one, model.memory_of(encoded)).mean(),
        "six tasks decoded jointly": lambda: model.decoder(together, model.memory_of(encoded)).mean(),
        "six tasks under one mask": lambda: under_one_mask(model, together, model.memory_of(encoded)).mean(),
        "six tasks decoded in turn": lambda: sum_of(
            {name: model.decoder(model.queries(name), model.memory_of(encoded)) for name in COUNTS}
        ),
        "all of one task": lambda: sum_of(model.task_logits(model.encode(images["landmarks"]), ["landmarks"])),
        "all of six tasks": lambda: sum_of(model.task_logits(model.encode(images["landmarks"]), list(COUNTS))),
        "averaged weights": lambda: averaged_weights(model, together, model.memory_of(encoded)).mean(),
    }


def main() -> None:
    """Time all ways in turn and print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, default in (
        ("side", 112),
        ("patch", 16),
        ("width", 192),
        ("depth", 6),
        ("heads", 4),
        ("decoder", 128),
        ("layers", 6),
        ("batch", 4),
        ("rounds", 15),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--predict", action="store_true", help="forward passes alone, of one task and of six")
    own = parser.parse_args()
    torch.manual_seed(0)
    model = build(own)
    ways = ways_of(model, own)
    with torch.no_grad():
        fused = model.decoder(
            model.queries(*COUNTS), model.memory_of(model.encode(torch.ones(1, 3, own.side, own.side)))
        )
        plain = averaged_weights(
            model, model.queries(*COUNTS), model.memory_of(model.encode(torch.ones(1, 3, own.side, own.side)))
        )
    print(f"fused and published attention differ by at most {float((fused - plain).abs().max()):.1e}")
    if own.predict:
        ways = {name: way for name, way in ways.items() if "pass" not in name and name != "averaged weights"}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(own.rounds + 1):
        for name, way in ways.items():
            model.zero_grad()
            begun = time.process_time()
            with torch.set_grad_enabled(not own.predict):
                found = way()
                if not own.predict:
                    found.backward()
            if number:
                seconds[name].append(time.process_time() - begun)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name:<28}{1000 * value:9.1f} ms")
    for first, second in (
        ("one encoder pass a task", "merged encoder passes"),
        ("six tasks decoded jointly", "one task decoded"),
        ("six tasks under one mask", "six tasks decoded jointly"),
        ("six tasks decoded in turn", "six tasks decoded jointly"),
        ("all of six tasks", "all of one task"),
        ("averaged weights", "six tasks decoded jointly"),
    ):
        if first not in median or second not in median:
            continue
        print(f"{first} / {second}: {median[first] / median[second]:.2f}")


if __name__ == "__main__":
    main()
