"""`transface search`: the faces of a folder most like a given one, on the screen and as a page with thumbnails."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from transface.artifacts import write_whole
from transface.cli.config.compose import run_verb
from transface.cli.config.errors import UserError
from transface.cli.config.model_options import (
    check_stored,
    check_threshold,
    chosen_device,
    chosen_threshold,
    named_words,
    open_model,
    points_by_picture,
    points_for,
    points_of,
    refuse_unread,
    refuse_unread_of_pictures,
    telling_replaced,
    words_and_keys,
)
from transface.progress import working

OF_GALLERY = {"index", "unreadable", "flip"}  # how a folder's faces are embedded and kept
OWN = "is a file of embeddings, made with settings of its own"
OF_PICTURES = {"points", "detector", "faces", "fit", "quality", "keypoints_from"}


def main(argv: list[str]) -> int:
    """Run `transface search checkpoint=... gallery=FOLDER query=a.jpg`."""
    words, keys = words_and_keys(argv)
    if len(words) > 1:
        raise UserError(f"search takes one query (a picture or a folder), got {', '.join(words)}")
    run_verb("search", [*named_words(["query"], words, keys), *keys], search)
    return 0


def search(cfg: DictConfig) -> None:
    """Embed gallery and query, print the hits, write the page."""
    from transface.data.sources.picture_list import open_pictures
    from transface.inference.folders.embeddings_file import is_embeddings, require_models_equal, require_one_model
    from transface.inference.search.face_index import FaceIndex, check_search
    from transface.inference.search.rated_gallery import person_of, pool_people, refuse_low_quality
    from transface.inference.search.search_page import Answer, Hit, search_page

    check_search(cfg.engine, cfg.top_k)
    page = Path(cfg.output)
    if page.is_dir():
        raise UserError(f"{page} is a folder: output names the page, e.g. {page / 'search.html'}")
    if page.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"output is a page and must end in .html, got {page}")
    if cfg.pictures is not None and not Path(cfg.pictures).is_dir():
        raise FileNotFoundError(f"no folder of pictures at {cfg.pictures}, for the page's thumbnails")
    stored = {name: is_embeddings(cfg[name]) for name in ("gallery", "query")}
    limit = chosen_threshold(cfg, flip=None if stored["gallery"] else cfg.flip)
    if all(stored.values()):
        refuse_unread(
            OF_PICTURES | OF_GALLERY, "gallery and query are files of embeddings, made with settings of their own"
        )
    elif stored["gallery"]:
        refuse_unread(OF_GALLERY - {"flip"}, f"gallery {OWN}")
    if not any(stored.values()):
        refuse_unread({"pictures"}, "gallery and query are pictures themselves")
    refuse_unread_of_pictures(cfg)
    if cfg.points is not None and not isinstance(cfg.points, str) and not any(stored.values()):
        raise UserError(
            "points=[...] are those of one folder's pictures, and gallery and query are two: give points=FILE.csv with"
            " the points of both, or detector="
        )
    model = None if all(stored.values()) and cfg.checkpoint is None else open_model(cfg)
    points, flip = points_of(cfg), cfg.flip
    if stored["gallery"]:
        found, gallery = stored_faces(cfg.gallery, cfg.pictures)
        flip = found.about.get("flip") or flip
        if flip != cfg.flip:
            refuse_unread({"flip"}, f"gallery {OWN}, flip={flip}")
    if model is not None and not all(stored.values()):
        check_threshold(limit, model, cfg, flip=flip)
    if not stored["gallery"]:
        gallery = open_pictures(cfg.gallery)
        found = gallery_embeddings(cfg, model, gallery, points_by_picture(points, gallery))
    if stored["query"]:
        asked, queries = stored_faces(cfg.query, cfg.pictures)
    else:
        queries = open_pictures(cfg.query)
        asked = query_embeddings(cfg, model, queries, points, flip=flip)
    require_models_equal(found.about, cfg.gallery, asked.about, cfg.query if stored["query"] else cfg.checkpoint)
    if model is not None:
        require_models_equal(found.about, cfg.gallery, model.about(), cfg.checkpoint)
    if stored["gallery"]:
        check_stored(limit, found, cfg.gallery)
    require_one_model([found, asked], [cfg.gallery, cfg.query])
    if stored["query"]:
        check_stored(limit, asked, cfg.query)
    elif stored["gallery"]:
        tell_cut_otherwise(cfg, found)
    kinds = [one.about.get("quality") for one in (found, asked)]
    if cfg.min_quality is not None and all(kinds) and kinds[0] != kinds[1]:
        raise UserError(
            f"min_quality holds for one kind, and the gallery was rated by {kinds[0]}, the query by {kinds[1]}"
        )
    if cfg.min_quality is not None:
        found, refused = refuse_low_quality(found, cfg.min_quality)
        print(f"{len(refused)} gallery faces of a quality below {cfg.min_quality:g} are left out")
        asked, refused = refuse_low_quality(asked, cfg.min_quality)
        for name in refused:
            print(f"not searched for: {name}, its quality is below {cfg.min_quality:g}")
    if not len(asked.names):
        raise UserError(f"{cfg.query} holds no faces to search for")
    if cfg.templates:
        found = pool_people(found)
    index = FaceIndex(found.vectors, engine=cfg.engine, device=chosen_device(cfg.device))
    hits = index.search(asked.vectors, cfg.top_k)
    answers = []
    searched = [str(name) for name in asked.names]
    for name, scores, positions in zip(searched, hits.scores, hits.positions, strict=True):
        rows = [(str(found.names[position]), float(score)) for position, score in zip(positions, scores, strict=True)]
        listed = [
            Hit(person_of(hit) if cfg.templates else hit, gallery.picture(hit), float(score)) for hit, score in rows
        ]
        answers.append(Answer(name, queries.picture(name), listed))
        print_answer(answers[-1], limit)
    page.parent.mkdir(parents=True, exist_ok=True)
    kind = "people" if cfg.templates else "faces"
    title = title_of(
        searched, queries.root.name or cfg.query, f"{len(found.names):,} {kind} of {gallery.root.name or cfg.gallery}"
    )
    with telling_replaced(page):
        write_whole(page, search_page(answers, title=title, threshold=None if limit is None else limit.cosine))
    print(f"{page}: the same with thumbnails ({index.engine} search)")


def title_of(searched: Sequence[str], folder: str, gallery: str) -> str:
    """Return the title of the page: the picture that was searched for, or how many of which folder, and where."""
    what = searched[0] if len(searched) == 1 else f"{len(searched):,} faces of {folder}"
    return f"{what}, searched for among {gallery}"


def tell_cut_otherwise(cfg: DictConfig, found: Any) -> None:
    """Print a warning where faces of queries are made of their pictures otherwise than those of a stored gallery were.

    Faces that are aligned already, which need neither, go with any gallery.
    """
    from transface.images.detectors.opening import open_detector

    own = None if cfg.detector is None else open_detector(cfg.detector).name
    made = found.about.get("detector")
    if made is not None and own is not None and own != made:
        what = f"with detector={made}, and the query with {own}"
    elif made is not None and own is None and cfg.points is None and cfg.fit != "refuse":
        what = f"with detector={made}, and the query with fit={cfg.fit}"
    elif made is None and own is None and found.about.get("fit") not in (None, "refuse", cfg.fit):
        what = f"with fit={found.about['fit']}, and the query with fit={cfg.fit}"
    else:
        return
    print(f"warning: {cfg.gallery} was embedded {what}: faces that are cut out otherwise reach other cosines")


def gallery_embeddings(cfg: DictConfig, model: Any, gallery: Any, points: Any) -> Any:
    """Return the embeddings of the gallery: kept in the `index` file, made again where model or images changed."""
    from transface.inference.folders.folder_embedding import embed_folder
    from transface.inference.keypoints import setting_of

    with telling_replaced(cfg.index), working("gallery", len(gallery.names)) as progress:
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
            quality=cfg.quality,
            unreadable=cfg.unreadable,
            keypoints=setting_of(cfg.keypoints_from),
            stale="replace",
            progress=progress,
        )


def stored_faces(path: str, pictures: str | None) -> tuple[Any, Any]:
    """Return the embeddings of a file, and the list of their images, which lie in `pictures` (else here)."""
    from transface.images.files import ImageList
    from transface.inference.folders.embeddings_file import read_embeddings

    found = read_embeddings(path)
    return found, ImageList(Path(pictures or "."), [str(name) for name in found.names])


def query_embeddings(cfg: DictConfig, model: Any, queries: Any, points: Any, *, flip: str) -> Any:
    """Return the embeddings of the queries, made as those of the gallery are and rated where these are."""
    import numpy as np

    from transface.inference.folders.embeddings_file import NamedEmbeddings
    from transface.inference.keypoints import setting_of
    from transface.inference.quality import rate_faces

    paths = [queries.picture(name) for name in queries.names]
    settings = {
        "points": points_for(points, queries.names, queries.picture),
        "batch_size": cfg.batch_size,
        "flip": flip,
        "fit": cfg.fit,
        "detector": cfg.detector,
        "faces": cfg.faces,
    }
    kind, names = cfg.quality, list(queries.names)
    if cfg.unreadable == "skip":
        places = readable_places(model, paths, settings)
        names, paths = [names[place] for place in places], [paths[place] for place in places]
        if settings["points"] is not None:
            settings["points"] = [settings["points"][place] for place in places]
        if not names:
            raise UserError(f"no picture of {cfg.query} can be searched for")
    rated = rate_faces(model, paths, quality=kind or "norm", **settings)
    return NamedEmbeddings(
        np.array(names, np.str_),
        rated.vectors.numpy(),
        rated.norms.numpy(),
        np.array([], np.str_),
        {**model.about(), "flip": flip, "quality": kind, "keypoints": setting_of(cfg.keypoints_from)},
        None if kind is None else rated.quality.numpy(),
    )


def readable_places(model: Any, paths: list[Any], settings: dict[str, Any]) -> list[int]:
    """Return the places of the queries that can be embedded; tell of the others."""
    found = []
    for place, path in enumerate(paths):
        own = None if settings["points"] is None else settings["points"][place][None]
        try:
            model.embed([path], **{**settings, "points": own})
        except (ValueError, OSError) as error:
            print(f"not searched for: {error}")
        else:
            found.append(place)
    return found


def print_answer(answer: Any, limit: Any) -> None:
    """Print a query and its hits, one a line."""
    print(answer.path if isinstance(answer.path, Path) else answer.name)
    for hit in answer.hits:
        mark = "  same" if limit is not None and hit.score >= limit.cosine else ""
        print(f"  {hit.score:.4f}  {hit.name}{mark}")
