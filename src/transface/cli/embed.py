"""`transface embed`: the embeddings of a folder of faces, in an .npz or .parquet file."""

from omegaconf import DictConfig

from transface.cli.config.compose import run_verb
from transface.cli.config.model_options import (
    images_from_words,
    open_model,
    points_by_picture,
    points_of,
    refuse_unread_of_pictures,
)
from transface.progress import working


def main(argv: list[str]) -> int:
    """Run `transface embed FOLDER checkpoint=... output=faces.npz`."""
    run_verb("embed", images_from_words("embed", argv), embed)
    return 0


def embed(cfg: DictConfig) -> None:
    """Embed the folder; a stopped run resumes."""
    from transface.data.sources.picture_list import open_pictures
    from transface.inference.folders.folder_embedding import embed_folder
    from transface.inference.keypoints import setting_of

    refuse_unread_of_pictures(cfg)
    images = open_pictures(cfg.images)
    model = open_model(cfg)
    with working("embedding", len(images.names)) as progress:
        found = embed_folder(
            model,
            images,
            cfg.output,
            batch_size=cfg.batch_size,
            flip=cfg.flip,
            fit=cfg.fit,
            points=points_by_picture(points_of(cfg), images),
            detector=cfg.detector,
            faces=cfg.faces,
            quality=cfg.quality,
            keypoints=setting_of(cfg.keypoints_from),
            unreadable=cfg.unreadable,
            progress=progress,
        )
    skipped = f", {len(found.skipped)} images could not be read" if len(found.skipped) else ""
    print(f"{cfg.output}: {len(found.names)} embeddings of {found.vectors.shape[1]} numbers{skipped}")
