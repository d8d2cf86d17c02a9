"""`transface align`: the aligned faces of a folder of photographs, with a table of where they were."""

import os
import sys

from omegaconf import DictConfig

from transface.cli.config.compose import run_verb
from transface.cli.config.model_options import chosen_device, images_from_words, refuse_unread
from transface.progress import working

NAMED = 10


def main(argv: list[str]) -> int:
    """Run `transface align FOLDER output=FACES detector=mtcnn`."""
    run_verb("align", images_from_words("align", argv), align)
    return 0


def align(cfg: DictConfig) -> None:
    """Align the faces of the folder; a stopped run resumes."""
    from transface.images.files import list_images
    from transface.inference.face_model import usable_device
    from transface.inference.folders.align_folder import SHEET, TABLE, align_folder

    if cfg.kind == "png":
        refuse_unread({"quality"}, "kind=png loses nothing")
    size = cfg.size if isinstance(cfg.size, int) else tuple(cfg.size)
    device = usable_device(chosen_device(cfg.device))
    with working("aligning", len(list_images(cfg.images).outside(cfg.output).names)) as progress:
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
            num_threads=(os.cpu_count() or 1) if cfg.workers is None else cfg.workers,
            device=str(device),
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
        many = "1 picture is" if len(done.doubtful) == 1 else f"{len(done.doubtful)} pictures are"
        print(f"{many} doubtful, {first} the first: {done.doubtful[first]}", file=sys.stderr)
