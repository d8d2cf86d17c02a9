"""`transface translate old.npz new.npz`: a map from one model's embeddings to another's, what it costs, and embeddings
carried over by it.
"""

from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from transface.cli.config.compose import run_verb
from transface.cli.config.errors import UserError
from transface.cli.config.model_options import (
    named_words,
    refuse_input_as_output,
    refuse_unread,
    telling_replaced,
    words_and_keys,
)


def main(argv: list[str]) -> int:
    """Run `transface translate old.npz new.npz output=map.npz`, or `transface translate old.npz map=map.npz
    output=carried.npz`.
    """
    words, keys = words_and_keys(argv)
    if len(words) > 2:
        raise UserError(f"translate takes two files of embeddings, old and new, got {', '.join(words)}")
    run_verb("translate", [*named_words(["old", "new"], words, keys), *keys], translate)
    return 0


def translate(cfg: DictConfig) -> None:
    """Fit a map and say what it costs, or carry embeddings over by one."""
    from transface.inference.folders.embeddings_file import read_embeddings
    from transface.inference.translation import read_translation

    refuse_input_as_output(cfg.output or ("map.npz" if cfg.map is None else "carried.npz"), [cfg.old, cfg.new, cfg.map])
    if (cfg.new is None) == (cfg.map is None):
        raise UserError("give the new model's embeddings to fit a map, or map=... to carry embeddings over by it")
    if cfg.map is not None:
        refuse_unread({"kind", "people", "results", "num_bootstraps", "seed"}, "map= is fitted already")
    old = read_embeddings(cfg.old)
    if cfg.map is None:
        fit(cfg, old, read_embeddings(cfg.new))
    else:
        carry_over(cfg, old, read_translation(cfg.map))


def fit(cfg: DictConfig, old: Any, new: Any) -> None:
    """Fit the map on all pictures that both files name, write it, and print what such a map costs on unseen people."""
    from transface.evaluation.results import write_result
    from transface.inference.translation import fit_translation, write_translation
    from transface.inference.translation_cost import TooFewPeopleError, translation_cost

    if cfg.seed < 0:
        raise UserError(f"seed must be 0 or more, got {cfg.seed}")
    output = Path(cfg.output or "map.npz")
    if output.suffix != ".npz":
        raise UserError(f"output must end in .npz, got {output}")
    people = people_of(cfg.people, [str(name) for name in old.names])
    numbers = None
    if people is not None:
        listed = [people.get(str(name), "") for name in old.names]
        numbers = np.unique(listed, return_inverse=True)[1]
    found = fit_translation(old, new, kind=cfg.kind, people=numbers, seed=cfg.seed)
    cost, unmeasured = None, "people=... (a CSV of name,person), or pictures in a folder a person"
    if people is not None:
        try:
            settings = {"kind": cfg.kind, "num_bootstraps": cfg.num_bootstraps, "seed": cfg.seed}
            cost = translation_cost(old, new, people, **settings)
        except TooFewPeopleError as error:
            if cfg.people is not None:
                raise
            unmeasured = str(error)
    with telling_replaced(output):
        write_translation(output, found)
    strength = "" if found.about["strength"] is None else f" of strength {found.about['strength']:g}"
    print(f"{output}: {found.kind}{strength}, fitted on {found.about['num_pictures']} pictures")
    if cost is None:
        print(f"what it costs was not measured: {unmeasured}")
        return
    show(cost)
    if cfg.results is not None:
        print(f"result: {write_result(cost, cfg.results)}")


def people_of(path: str | None, names: list[str]) -> dict[str, str] | None:
    """Return the person of each picture: from a CSV of name,person, else the folder it lies in; None where neither
    says.
    """
    from transface.evaluation.recognition.own_lists import labels_by_name

    if path is not None:
        return labels_by_name(Path(path), "name", "person")
    folders = {name: name.rpartition("/")[0] for name in names}
    return folders if all(folders.values()) and len(set(folders.values())) > 1 else None


def show(cost: Any) -> None:
    """Print the table of a cost, a line a way of comparing."""
    from transface.evaluation.results import format_measure

    table = cost.tables["What it costs"]
    print(f"on {cost.counts['subjects']} people the map has not seen, {cost.counts['images']} pictures, in per cent:")
    for title, row in table.rows.items():
        cells = [f"{measure.name} {format_measure(measure)}" for measure in row if measure is not None]
        print(f"  {title}: {', '.join(cells)}")
    for curve in cost.curves.values():
        steps = [f"{int(x)}: {100 * y:.1f}" for x, y in zip(curve.x, curve.y, strict=True)]
        print(f"  rank1 by the pictures the map was fitted on: {', '.join(steps)}")
    for warning in cost.warnings:
        print(f"note: {warning}")


def carry_over(cfg: DictConfig, old: Any, found: Any) -> None:
    """Write the embeddings of the old model as such of the new one."""
    from transface.inference.folders.embeddings_file import checked_output, write_embeddings
    from transface.inference.translation import carried_over

    output = checked_output(cfg.output or "carried.npz")
    moved = carried_over(old, found, name=str(cfg.old), map_name=str(cfg.map))
    with telling_replaced(output):
        write_embeddings(output, moved)
    print(f"{output}: {len(moved.names)} embeddings of {moved.vectors.shape[1]} numbers, carried over")
    print("note: a threshold is set anew for them, and an embedding that can be carried over is not anonymous")
