"""`transface search`: the faces of a folder most like a given one, on the screen and as a page with thumbnails."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from transface.artifacts import write_whole
from transface.cli.config.compose import run_verb
from transface.cli.config.errors import UserError
from transface.cli.config.model_options import (
    check_threshold,
    chosen_device,
    chosen_threshold,
    open_model,
    points_for,
    points_of,
    progress_bar,
    quoted,
    words_and_keys,
)


def main(argv: list[str]) -> int:
    """Run `transface search checkpoint=... gallery=FOLDER query=a.jpg`."""
    words, keys = words_and_keys(argv)
    if len(words) > 1:
        raise UserError(f"search takes one query (a picture or a folder), got {', '.join(words)}")
    run_verb("search", [*(f"query={quoted(word)}" for word in words), *keys], search)
    return 0


def search(cfg: DictConfig) -> None:
    """Embed gallery and query, print the hits, write the page."""
    from transface.images.files import list_images
    from transface.inference.search.face_index import FaceIndex, check_search
    from transface.inference.search.search_page import Answer, Hit, search_page

    check_search(cfg.engine, cfg.top_k)
    page = Path(cfg.output)
    if page.is_dir():
        raise UserError(f"{page} is a folder: output names the page, e.g. {page / 'search.html'}")
    limit = chosen_threshold(cfg)
    gallery, queries = list_images(cfg.gallery), list_images(cfg.query)
    model = open_model(cfg)
    check_threshold(limit, model, cfg)
    points = points_of(cfg)
    found = gallery_embeddings(cfg, model, gallery, points)
    paths = [queries.root / name for name in queries.names]
    settings = {
        "batch_size": cfg.batch_size,
        "flip": cfg.flip,
        "fit": cfg.fit,
        "detector": cfg.detector,
        "faces": cfg.faces,
    }
    vectors = model.embed(paths, points=points_for(points, queries.names), **settings)
    index = FaceIndex(found.vectors, engine=cfg.engine, device=chosen_device(cfg.device))
    hits = index.search(vectors, cfg.top_k)
    answers = []
    for name, scores, positions in zip(queries.names, hits.scores, hits.positions, strict=True):
        rows = [(str(found.names[position]), float(score)) for position, score in zip(positions, scores, strict=True)]
        answers.append(Answer(name, queries.root / name, [Hit(hit, gallery.root / hit, score) for hit, score in rows]))
        print_answer(answers[-1], limit)
    page.parent.mkdir(parents=True, exist_ok=True)
    title = (
        f"{len(queries.names)} of {queries.root.name or cfg.query} among {len(found.names)} faces of"
        f" {gallery.root.name or cfg.gallery}"
    )
    write_whole(page, search_page(answers, title=title, threshold=None if limit is None else limit.cosine))
    print(f"{page}: the same with thumbnails ({index.engine} search)")


def gallery_embeddings(cfg: DictConfig, model: Any, gallery: Any, points: Any) -> Any:
    """Return the embeddings of the gallery: kept in the `index` file, made again where model or images changed."""
    from transface.inference.folders.folder_embedding import embed_folder

    with progress_bar("gallery", len(gallery.names)) as progress:
        return embed_folder(
            model,
            gallery,
            cfg.index,
            batch_size=cfg.batch_size,
            flip=cfg.flip,
            fit=cfg.fit,
            points=points,
            detector=cfg.detector,
            faces=cfg.faces,
            unreadable=cfg.unreadable,
            stale="replace",
            progress=progress,
        )


def print_answer(answer: Any, limit: Any) -> None:
    """Print a query and its hits, one a line."""
    print(answer.path)
    for hit in answer.hits:
        mark = "  same" if limit is not None and hit.score >= limit.cosine else ""
        print(f"  {hit.score:.4f}  {hit.name}{mark}")
