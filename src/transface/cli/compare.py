"""`transface compare a.jpg b.jpg`: how alike two faces are, and whether they count as one person."""

from omegaconf import DictConfig

from transface.cli.config.compose import run_verb
from transface.cli.config.errors import UserError
from transface.cli.config.model_options import (
    check_threshold,
    chosen_threshold,
    open_model,
    points_for,
    points_of,
    quoted,
    words_and_keys,
)


def main(argv: list[str]) -> int:
    """Run `transface compare a.jpg b.jpg checkpoint=...`."""
    words, keys = words_and_keys(argv)
    if words and len(words) != 2:
        raise UserError(f"compare takes two pictures, got {len(words)}: transface compare a.jpg b.jpg checkpoint=...")
    pictures = [f"{name}={quoted(word)}" for name, word in zip(("first", "second"), words, strict=False)]
    run_verb("compare", [*pictures, *keys], compare)
    return 0


def compare(cfg: DictConfig) -> None:
    """Print the cosine of two faces and, where a threshold is known, the verdict."""
    from transface.inference.similarity import similarity

    limit = chosen_threshold(cfg)
    names = [str(cfg.first), str(cfg.second)]
    model = open_model(cfg)
    check_threshold(limit, model, cfg)
    vectors = model.embed(
        names,
        points=points_for(points_of(cfg), names),
        flip=cfg.flip,
        fit=cfg.fit,
        detector=cfg.detector,
        faces=cfg.faces,
    )
    cosine = float(similarity(vectors[0], vectors[1]))
    print(f"similarity {cosine:.4f}")
    if limit is not None:
        verdict = "same person" if cosine >= limit.cosine else "different people"
        measured = (
            f" (FAR {limit.far:g}, TAR {limit.tar:.4f} over {limit.num_impostors} impostor pairs)"
            if limit.num_impostors
            else ""
        )
        print(f"{verdict}: the threshold is {limit.cosine:.4f}{measured}")
