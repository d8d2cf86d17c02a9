"""`transface demo`: one local page to compare, predict and search with a model."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from transface.cli.config.compose import run_verb
from transface.cli.config.errors import UserError
from transface.cli.config.model_options import (
    check_stored,
    check_threshold,
    chosen_threshold,
    open_model,
    refuse_unread,
    refuse_unread_of_pictures,
)
from transface.progress import working

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main(argv: list[str]) -> int:
    """Run `transface demo checkpoint=...`."""
    run_verb("demo", argv, demo)
    return 0


def demo(cfg: DictConfig) -> None:
    """Serve the page until it is stopped."""
    if not 0 <= cfg.port <= 65535:
        raise UserError(f"port must be in 0..65535, got {cfg.port}")
    from transface.inference.demo.page import build_page

    handlers = handlers_of(cfg)
    page = build_page(handlers, title=f"transface: {handlers.model.provenance.get('source') or cfg.checkpoint}")
    allowed = [] if handlers.pictures is None else [str(handlers.pictures.resolve())]
    if cfg.host not in LOOPBACK:
        print(f"warning: {cfg.host} lets other machines in: everyone who reaches this port can use the model")
    _, address, _ = page.launch(
        server_name=cfg.host,
        server_port=cfg.port or None,
        inbrowser=cfg.browser,
        share=False,
        quiet=True,
        allowed_paths=allowed,
        prevent_thread_lock=True,
    )
    print(f"{address} until CTRL-C", flush=True)
    page.block_thread()


def handlers_of(cfg: DictConfig) -> Any:
    """Return the functions of the page for a config: model, detector, threshold, gallery."""
    from transface.images.detectors.opening import open_detector
    from transface.images.files import list_images
    from transface.inference.demo.handlers import Handlers
    from transface.inference.folders.embeddings_file import is_embeddings, read_embeddings
    from transface.inference.folders.folder_embedding import embed_folder

    refuse_unread({"points"}, "pictures come from the page")
    refuse_unread_of_pictures(cfg)
    limit = chosen_threshold(cfg, flip=cfg.flip)
    model = open_model(cfg)
    check_threshold(limit, model, cfg, flip=cfg.flip)
    detector = None if cfg.detector is None else open_detector(cfg.detector, device=model.device)
    found, pictures = None, None if cfg.pictures is None else Path(cfg.pictures)
    if cfg.gallery is not None and is_embeddings(cfg.gallery):
        found = read_embeddings(cfg.gallery)
        check_stored(limit, found, cfg.gallery)
    elif cfg.gallery is not None:
        images = list_images(cfg.gallery)
        pictures = images.root
        with working("gallery", len(images.names)) as progress:
            found = embed_folder(
                model,
                images,
                cfg.index,
                flip=cfg.flip,
                fit=cfg.fit,
                detector=cfg.detector,
                unreadable="skip",
                stale="replace",
                progress=progress,
            )
    return Handlers(
        model,
        detector=detector,
        threshold=None if limit is None else limit.cosine,
        gallery=found,
        pictures=pictures,
        flip=cfg.flip,
        fit=cfg.fit,
    )
