"""`transface align`: the aligned faces of a folder of photographs, with a table of where they were."""

import os
import sys

from omegaconf import DictConfig

from transface.cli.config.compose import run_verb
from transface.cli.config.errors import UserError
from transface.cli.config.model_options import chosen_device, quoted, words_and_keys
from transface.progress import working

NAMED = 10


def main(argv: list[str]) -> int:
    """Run `transface align FOLDER output=FACES detector=mtcnn`."""
    words, keys = words_and_keys(argv)
    if len(words) > 1:
        raise UserError(f"align takes one folder of photographs, got {', '.join(words)}")
    run_verb("align", [*(f"images={quoted(word)}" for word in words), *keys], align)
    return 0


def align(cfg: DictConfig) -> None:
    """Align the faces of the folder; a run that was stopped goes on."""
    from transface.images.files import list_images
    from transface.inference.folders.align_folder import SHEET, TABLE, align_folder

    size = cfg.size if isinstance(cfg.size, int) else tuple(cfg.size)
    with working("aligning", len(list_images(cfg.images).names)) as progress:
        done = align_folder(
            cfg.images,
            cfg.output,
            cfg.detector,
            take=cfg.faces,
            size=size,
            margin=cfg.crop_margin,
            min_eye_distance=cfg.min_eye_distance,
            kind=cfg.kind,
            quality=cfg.quality,
            num_threads=cfg.workers or os.cpu_count() or 1,
            device=str(chosen_device(cfg.device)),
            progress=progress,
        )
    print(
        f"{done.output}: {done.num_faces} faces of {done.num_pictures} pictures; {TABLE} holds boxes, points and scores"
    )
    for name, reason in list(done.failed.items())[:NAMED]:
        print(f"no face of {name}: {reason}", file=sys.stderr)
    if done.failed:
        print(
            f"{len(done.failed)} of {done.num_pictures} pictures gave no face: {done.output / SHEET} shows them",
            file=sys.stderr,
        )
    if done.doubtful:
        first = next(iter(done.doubtful))
        print(f"{len(done.doubtful)} pictures are doubtful, {first} the first: {done.doubtful[first]}", file=sys.stderr)
