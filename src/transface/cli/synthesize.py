"""`transface synthesize`: draw made-up people and write them in the field's file formats."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from transface.cli.config.compose import plain, run_verb
from transface.cli.config.errors import UserError

# What each kind of set is drawn with where nothing is said, in the order of conf/synthesize.yaml.
DEFAULTS: dict[str, dict[str, int]] = {
    "identities": {"num_identities": 400, "images_per_identity": 24, "num_pairs": 600, "num_ijbc_identities": 24},
    "attributes": {"num_identities": 2400, "images_per_identity": 2},
    "expressions": {"num_identities": 120, "images_per_identity": 21},
    "ages": {"num_identities": 1200, "images_per_identity": 2},
    "world": {
        "num_identities": 60,
        "images_per_identity": 16,
        "num_pairs": 200,
        "num_images": 800,
        "image_size": 160,
        "all_forms": False,
    },
}


def main(argv: list[str]) -> int:
    """Run `transface synthesize` with overrides."""
    run_verb("synthesize", argv, synthesize)
    return 0


def synthesize(cfg: DictConfig) -> None:
    """Write the set of made-up people that the config asks for."""
    settings = settings_of(plain(cfg))
    if cfg.kind == "identities":
        _write_identities(cfg.root, settings)
        return
    if cfg.kind == "world":
        _write_world(cfg.root, settings)
        return
    from transface.synthetic.labelled_sets import write_age_folder, write_attribute_folder, write_expression_folder

    writers = {
        "attributes": (write_attribute_folder, "in CelebA's form"),
        "expressions": (write_expression_folder, "in folders of seven expressions under train, val and test"),
        "ages": (write_age_folder, "named age_gender_race_date as UTKFace's are"),
    }
    write, form = writers[cfg.kind]
    root = write(cfg.root, **settings)
    print(f"{root}: {settings['num_identities']} people x {settings['images_per_identity']} images, {form}")


def settings_of(config: Mapping[str, Any]) -> dict[str, int]:
    """Return what a set of the kind is drawn with: the config's numbers, and the kind's own where it says none.

    Raises:
        UserError: for another kind, or a setting that the kind does not have.
    """
    kind = config["kind"]
    if kind not in DEFAULTS:
        raise UserError(f"kind must be {', '.join(DEFAULTS)}, got {kind!r}")
    given = {name: value for name, value in config.items() if name not in ("root", "kind") and value is not None}
    settings = {**DEFAULTS[kind], "seed": 0} | given
    if idle := [name for name in settings if name not in (*DEFAULTS[kind], "seed")]:
        raise UserError(f"kind={kind} has no {', '.join(idle)}: leave it out")
    return settings


def _write_identities(root: str, settings: Mapping[str, int]) -> None:
    from transface.synthetic.datasets import write_demo_data

    written = write_demo_data(root, **settings)
    sets = ", ".join(str(path) for path in written.pair_sets.values())
    people = f"{settings['num_identities']} people x {settings['images_per_identity']} images"
    print(f"{written.root}: {people} (train.rec); pair sets of other people: {sets}; {written.ijbc}")


def _write_world(root: str, settings: Mapping[str, int]) -> None:
    from transface.synthetic.world.sets import WorldSettings, write_world

    write_world(root, WorldSettings(**settings))  # type: ignore[arg-type]
    forms = ", and every form that is read in forms/" if settings["all_forms"] else ""
    print(
        f"{root}: identity ({settings['num_identities']} people x {settings['images_per_identity']} images),"
        f" attributes, age, expression, landmarks, parsing ({settings['num_images']} images each){forms}"
    )
