"""Sizes of a convolutional backbone follow from the weights it starts from."""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from transface.cli.config.command_line import key_of

FAMILIES = {"mobilefacenet": "MobileFaceNet", "iresnet": "iresnet"}  # architecture: in the name of the backbone
SIZES = ("depths", "width", "image_size", "first_shortcut")


def take_sizes_from_weights(cfg: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Set in place what `backbone.weights` tells of the backbone's sizes and of the embedding's, where none of the
    overrides says it; return "image_size [112, 96]" of each that was another.

    Files that are not of the backbone's kind are left to the backbone, which says what does not fit.
    """
    node = cfg.get("backbone")
    if not isinstance(node, DictConfig) or not node.get("weights"):
        return []
    own = next((architecture for architecture, word in FAMILIES.items() if word in str(node.get("_target_"))), None)
    if own is None:  # large files of transformers are not read for nothing
        return []
    from transface.backbones.released import sizes_of

    try:
        architecture, found = sizes_of(node.weights)
    except (ValueError, OSError):
        return []
    if architecture != own:
        return []
    changed = []
    given = [key_of(word) for word in overrides]
    homes = [(node, f"backbone.{name}", name) for name in SIZES] + [(cfg, "embedding_size", "embedding_size")]
    for home, key, name in homes:
        stated = home.get(name)
        as_plain = OmegaConf.to_container(stated) if OmegaConf.is_config(stated) else stated
        if name in home and name in found and key not in given and _as_sides(name, as_plain) != found[name]:
            home[name] = found[name]
            changed.append(f"{name} {found[name]}")
    return changed


def _as_sides(name: str, value: object) -> object:
    return [value, value] if name == "image_size" and isinstance(value, int) else value
