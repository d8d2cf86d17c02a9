"""What the verbs that use a model share: opening it where the config says, words beside keys."""

import datetime
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from transface.artifacts import hash_file
from transface.cli.config.command_line import key_of
from transface.cli.config.compose import words_given
from transface.cli.config.errors import UserError


def open_model(cfg: DictConfig) -> Any:
    """Return the FaceModel that `checkpoint` names, on `device` ("auto": the GPU if there is one)."""
    from transface.inference.opening import load

    if cfg.checkpoint is None:
        raise UserError("no value for checkpoint: give one, e.g. checkpoint=...")
    model = load(
        cfg.checkpoint,
        device=chosen_device(cfg.device),
        averaged=cfg.averaged,
        num_heads=cfg.num_heads,
        channels=cfg.channels,
        input_range=plain_range(cfg.get("input_range")),
    )
    take_keypoints(model.backbone, cfg)
    zone = cfg.get("exit")
    if zone is not None:
        if not hasattr(model.backbone, "exit_at"):
            raise UserError(
                f"exit={zone} is for networks of zones (attributes); {cfg.checkpoint} has none: leave it out"
            )
        model.backbone.exit_at(int(zone))
    return model


def plain_range(value: Any) -> Any:
    """Return the numbers of a config's list; what is none as it is, to be refused by name."""
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def take_keypoints(backbone: Any, cfg: DictConfig) -> None:
    """Let a model with KP-RPE take its key points from where `keypoints_from` says.

    Raises:
        UserError: for key points of a file where faces are cut out of their pictures.
    """
    source = cfg.get("keypoints_from")
    if source is None:
        return
    protocol = cfg.get("protocol")
    parts = [part for part in (cfg, protocol) if part is not None]
    cut = next((name for name in ("points", "detector") for part in parts if part.get(name) is not None), None)
    if cut is not None and str(source).endswith(".csv"):
        raise UserError(
            f"keypoints_from={source} are points in whole pictures, and {cut}= cuts faces out of them and aligns them:"
            " leave one out; aligned faces have the points of the template"
        )
    from transface.inference.keypoints import use_keypoints

    fit: Any = cfg.get("fit") or (protocol.get("fit") if protocol is not None else None) or "refuse"
    use_keypoints(backbone, str(source), fit=fit)


def chosen_device(device: str) -> str:
    """Return the device that "auto" means here."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def telling_replaced(path: str | Path) -> Iterator[None]:
    """Print a line where what is written to `path` within the body replaces something else: answers about other
    pictures, of another model or by other settings. The same again is not told.
    """
    path = Path(path)
    before = hash_file(path) if path.is_file() else None
    written = path.stat().st_mtime if before else 0.0
    yield
    if before is not None and hash_file(path) != before:
        when = datetime.datetime.fromtimestamp(written).isoformat(" ", "minutes")
        print(f"note: {path} held something else, written {when}, which is replaced")


def words_and_keys(argv: list[str]) -> tuple[list[str], list[str]]:
    """Return the plain words of a command line (paths), and its options and `key=value` overrides."""
    words = [word for word in argv if _is_plain(word)]
    return words, [word for word in argv if word not in words]


def _is_plain(word: str) -> bool:
    """Return whether a word is a path: no option, and no override unless there is a file of that very name."""
    if word.startswith("-"):
        return False
    return Path(word).exists() if word.startswith(("+", "~")) or "=" in word else True


def images_from_words(verb: str, argv: list[str]) -> list[str]:
    """Return the overrides of a verb that takes one picture or folder before its keys, as `images=...`.

    Raises:
        UserError: for more than one.
    """
    words, keys = words_and_keys(argv)
    if len(words) > 1:
        raise UserError(
            f"{verb} takes one picture, folder or list, got {', '.join(words)}: put the pictures into a folder or a"
            " .txt list"
        )
    return [*keys, *named_words(["images"], words, keys)]


def named_words(names: Sequence[str], words: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Return plain words as overrides of the keys they stand for, in their order.

    Raises:
        UserError: for one that the command line gives as a key too.
    """
    named = dict(zip(names, words, strict=False))
    for key in keys:
        name = key_of(key)
        if name in named:
            raise UserError(f"{name} is given twice, as {named[name]} and as {key}: leave one out")
    return [f"{name}={quoted(word)}" for name, word in named.items()]


def quoted(value: str) -> str:
    """Return a string so that Hydra's grammar takes it as it is."""
    # A backslash is itself there, but before a quote, at the end, and before what OmegaConf would look up, ${...}.
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + (f"\\{found[2]}" if found[2] else ""), value)
    escaped = re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + "\\${", escaped)
    return f"'{escaped}'"


def refuse_unread(names: Collection[str], why: str) -> None:
    """Raise where the command line gives one of the settings that nothing reads here.

    Raises:
        UserError: naming the setting, and `why` it is not read.
    """
    given = [name for name in map(key_of, words_given()) if name in names]
    if given:
        raise UserError(f"{given[0]}= is not read, because {why}: leave it out")


def refuse_unread_of_pictures(cfg: DictConfig) -> None:
    """Raise where the command line chooses one of the faces that nothing finds. `fit` beside a detector or points is no
    fault: faces that are cut out at the model's size need none.

    Raises:
        UserError: naming the setting.
    """
    if cfg.get("detector") is None:
        refuse_unread({"faces"}, "without detector= no faces are found that one could be chosen of")


def refuse_unread_of_protocol(protocol: Any) -> None:
    """Raise where the command line gives a setting of a protocol's config that another of its settings replaces.

    Raises:
        UserError: naming the setting.
    """
    files = protocol.get("files") or []
    folders = [Path(str(file)).is_dir() for file in ([files] if isinstance(files, str) else files)]
    has = set(protocol)
    if "detector" in has and protocol.get("detector") is None:
        refuse_unread({"protocol.faces", "protocol.missing"}, "without protocol.detector= no faces are looked for")
    if {"files", "root"} <= has and folders:
        names = {f"protocol.{name}" for name in ("max_impostors", "detector", "faces", "missing")}
        refuse_unread(names, "protocol.files are pair sets: their pairs and their aligned faces are given")
    if "sides" in has and folders and all(folders):
        refuse_unread({"protocol.sides", "protocol.occluder.wear"}, "no masks are drawn on the images of folders")
    if "sides" in has and not any(folders):
        refuse_unread({"protocol.image_size"}, "images of .bin files are taken as they are")


def points_of(cfg: DictConfig) -> Any:
    """Return the points of each image that the file `points` holds, those of a list (N, 5, 2) as they are, or None."""
    if cfg.points is None:
        return None
    if not isinstance(cfg.points, str):
        from transface.images.user_points import face_points

        return face_points(OmegaConf.to_container(cfg.points)).numpy()
    from transface.images.user_points import points_by_name

    return points_by_name(cfg.points)


def points_for(points: Any, names: list[str], picture_of: Callable[[str], Any]) -> Any:
    """Return the points (N, 5, 2) of some images, found by their path or file name, or in their order where points
    are a list; None without points. `picture_of` gives the file of an image, or its bytes.

    Raises:
        UserError: naming an image that has none, or a list of another length.
        ValueError: if the points of an image are those of another one.
    """
    from transface.images.user_points import ListedPoints

    if points is None:
        return None
    if not isinstance(points, ListedPoints):
        if len(points) != len(names):
            raise UserError(f"points are of {len(points)} faces, there are {len(names)} pictures: five points for each")
        return points
    points.check(names, picture_of)
    found = []
    for name in names:
        key = points.key_of(name)
        if key is None:
            raise UserError(points.reason_for(name) or f"there are no points for {name}")
        found.append(points[key])
    return found


def points_by_picture(points: Any, listed: Any) -> Any:
    """Return points as {name: (5, 2)} of the pictures of a list, those that have some: of a points file they are found
    by path or file name, those of a list of points go to the pictures in their order; None without points.

    Raises:
        ValueError: if the points of an image are those of another one.
    """
    from transface.images.user_points import ListedPoints, listed_points

    if points is None:
        return None
    if isinstance(points, ListedPoints):
        return listed_points(points, listed.names, listed.picture)
    return dict(zip(listed.names, points_for(points, listed.names, listed.picture), strict=True))


def chosen_threshold(cfg: DictConfig, *, flip: str | None) -> Any:
    """Return the Threshold that `result` and `far`, or `threshold`, ask for, or None.

    `flip` is that of the embeddings; None: of stored ones, whose own it is held against once they are read.

    Raises:
        UserError: if both are given.
        ValueError: if it was measured with another flip than the verb uses.
    """
    from transface.inference.thresholds import Threshold, threshold

    if cfg.result is not None and cfg.threshold is not None:
        raise UserError("give result=... (with far=...) or threshold=..., not both")
    if cfg.threshold is not None and not -1 <= cfg.threshold <= 1:
        raise UserError(f"threshold is a cosine in -1..1, got {cfg.threshold}")
    if cfg.result is None:
        refuse_unread({"far"}, "it chooses the threshold of a result, and there is no result=")
        return None if cfg.threshold is None else Threshold(float(cfg.threshold), float("nan"), float("nan"), 0)
    limit = threshold(cfg.result, cfg.far)
    limit.check(flip=flip)
    return limit


def check_stored(limit: Any, found: Any, path: object) -> None:
    """Hold a Threshold against embeddings of a file, which were made with settings of their own; print why not to trust
    it.

    Raises:
        ValueError: if it was measured with another model or flip.
    """
    if limit is None:
        return
    about = found.about
    prepared = {name: about.get(name) for name in ("fit", "detector")}
    said = [limit.check(found, flip=about.get("flip"), preparation=prepared)]
    if about.get("translated_from"):
        said.append(
            f"{path} was carried over from another model, whose faces reach other cosines: a threshold of the model"
            " itself does not hold for them, set one anew"
        )
    for sentence in filter(None, said):
        print(f"warning: {sentence}")


def refuse_input_as_output(output: str | Path, inputs: Sequence[str | Path | None]) -> None:
    """Raise UserError where what is to be written would replace what is read."""
    for path in inputs:
        if path is not None and Path(path).exists() and Path(path).resolve() == Path(output).resolve():
            raise UserError(f"output={output} is what is read here: choose another name")


def check_threshold(limit: Any, model: Any, cfg: DictConfig, *, flip: str) -> None:
    """Hold a Threshold against the model it is used with, and print why not to trust it.

    `flip` is that of the embeddings.

    Raises:
        ValueError: if it was measured with another model.
    """
    if limit is None:
        return
    prepared = {"fit": cfg.fit, "detector": cfg.detector, "points": cfg.points}
    said = [limit.warning, limit.check(model, flip=flip, preparation=prepared)]
    mode = limit.mode
    if not mode.model and mode.checkpoint_hash and mode.checkpoint_hash != checkpoint_hash(cfg.checkpoint):
        said.append(
            f"{cfg.result} was measured with another file than {cfg.checkpoint}: a threshold holds for its own model"
            " alone"
        )
    for sentence in filter(None, said):
        print(f"warning: {sentence}")


def checkpoint_hash(checkpoint: str) -> str:
    """Return the SHA-256 of the file that `checkpoint` means."""
    from transface.backbones.weights.hub import local_path
    from transface.training.checkpoints.reader import find_checkpoint

    path = local_path(checkpoint)
    exported = path / "model.safetensors"
    return hash_file(path if path.is_file() else exported if exported.is_file() else find_checkpoint(path))
