"""Which protocols measure what a model answers, with the data its checkpoint was trained on: words for the command
line.
"""

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from transface.cli.config.folder import conf_folder
from transface.cli.runs.changed_settings import DEALING, as_list, pasteable
from transface.cli.runs.trained_images import sets_of_training

PROTOCOLS = {
    "several_of": "attributes",
    "one_of": "photographs",
    "number": "photographs",
    "points": "points",
    "regions": "regions",
    "embedding": "pair_sets",
}
TAKEN = ("fit", *DEALING)  # settings of the training that its protocol takes too


def fitting_protocols(outputs: Mapping[str, Any], trained: Mapping[str, Any]) -> list[str]:
    """Return the words that evaluate each output of a network, the same words once.

    Args:
        outputs: of the network, by name.
        trained: the config of its training, which tells where the data lies; {} where it is not known.
    """
    sets = sets_of_training(trained)
    data = trained.get("data")
    common = {"fit": data.get("fit")} if isinstance(data, Mapping) else {}
    found = []
    for name, output in outputs.items():
        own = next((one for one in sets if one.home in (f"data.sets.{name}", "data")), None)
        found.append(_words(name, str(output.kind), {**({} if own is None else own.settings), **common}))
    return list(dict.fromkeys(words for words in found if words))


def _words(output: str, kind: str, settings: Mapping[str, Any]) -> str:
    """Return the words that evaluate one output on the data of its training's settings."""
    protocol = PROTOCOLS.get(kind)
    if protocol is None or protocol == "pair_sets":
        return "protocol=pair_sets protocol.files=[a.bin,b.bin]" if protocol else ""
    usual: Any = OmegaConf.to_container(OmegaConf.load(conf_folder() / "protocol" / f"{protocol}.yaml"), resolve=True)
    given: dict[str, Any] = {"root": settings.get("root") or "FOLDER"}
    if protocol == "photographs":
        given["column"] = settings.get("column") or output
    if output != given.get("column", usual.get("output") or protocol):
        given["output"] = output
    for name in TAKEN:
        if name in usual and settings.get(name) is not None and as_list(settings[name]) != as_list(usual[name]):
            given[name] = settings[name]
    words = [f"{'' if name in usual else '+'}protocol.{name}={pasteable(value)}" for name, value in given.items()]
    return " ".join([f"protocol={protocol}", *words])
