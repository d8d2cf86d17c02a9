"""`transface compare a.jpg b.jpg`: how alike two faces are, and whether they count as one person."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from transface.cli.config.compose import run_verb
from transface.cli.config.errors import UserError
from transface.cli.config.model_options import (
    check_stored,
    check_threshold,
    chosen_threshold,
    named_words,
    open_model,
    points_for,
    points_of,
    refuse_unread,
    refuse_unread_of_pictures,
    words_and_keys,
)

SHOWN = 20  # pairs of two files
OF_PICTURES = {"points", "detector", "faces", "fit", "flip", "keypoints_from"}


def main(argv: list[str]) -> int:
    """Run `transface compare a.jpg b.jpg checkpoint=...`."""
    words, keys = words_and_keys(argv)
    if words and len(words) != 2:
        raise UserError(f"compare takes two pictures, got {len(words)}: transface compare a.jpg b.jpg checkpoint=...")
    run_verb("compare", [*named_words(["first", "second"], words, keys), *keys], compare)
    return 0


def compare(cfg: DictConfig) -> None:
    """Print the cosine of two faces and, where a threshold is known, the verdict."""
    from transface.inference.folders.embeddings_file import is_embeddings
    from transface.inference.similarity import similarity

    stored = is_embeddings(cfg.first) or is_embeddings(cfg.second)
    limit = chosen_threshold(cfg, flip=None if stored else cfg.flip)
    if stored:
        compare_files(cfg, limit)
        return
    refuse_unread_of_pictures(cfg)
    names = [str(cfg.first), str(cfg.second)]
    model = open_model(cfg)
    check_threshold(limit, model, cfg, flip=cfg.flip)
    vectors = model.embed(
        names,
        points=points_for(points_of(cfg), names, Path),
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


def compare_files(cfg: DictConfig, limit: Any) -> None:
    """Print the most alike of two files of embeddings, which must be of one model."""
    from transface.inference.folders.embeddings_file import (
        is_embeddings,
        read_embeddings,
        require_models_equal,
        require_one_model,
    )
    from transface.inference.search.face_index import FaceIndex
    from transface.inference.similarity import similarity

    if other := [name for name in (cfg.first, cfg.second) if not is_embeddings(name)]:
        raise UserError(f"a file of embeddings is compared with another one: 'transface embed' makes one of {other[0]}")
    refuse_unread(OF_PICTURES, "both are files of embeddings, made with settings of their own")
    files = [read_embeddings(cfg.first), read_embeddings(cfg.second)]
    require_one_model(files, [cfg.first, cfg.second])
    if cfg.checkpoint is not None:
        require_models_equal(files[0].about, cfg.first, open_model(cfg).about(), cfg.checkpoint)
    for file, name in zip(files, (cfg.first, cfg.second), strict=True):
        check_stored(limit, file, name)
    names = [[str(name) for name in file.names] for file in files]
    if len(names[0]) == len(names[1]) == 1:
        pairs = [(0, 0, float(similarity(files[0].vectors[0], files[1].vectors[0])))]
    else:
        hits = FaceIndex(files[1].vectors, engine="exact").search(files[0].vectors, 1)
        pairs = [
            (row, int(found[0]), float(score[0]))
            for row, (score, found) in enumerate(zip(hits.scores, hits.positions, strict=True))
        ]
    for first, second, cosine in sorted(pairs, key=lambda pair: -pair[2])[:SHOWN]:
        verdict = "" if limit is None else "  same person" if cosine >= limit.cosine else "  different people"
        print(f"{cosine:.4f}  {names[0][first]}  {names[1][second]}{verdict}")
    if len(pairs) > SHOWN:
        print(f"... and {len(pairs) - SHOWN} more of {cfg.first}, each with its nearest of {cfg.second}")
