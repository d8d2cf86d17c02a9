"""The words handed to Hydra: flags first, groups that train.yaml already has without their plus sign, trials named
after what is swept.
"""

import importlib.util
import itertools
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from transface.cli.config.config_errors import options_of
from transface.cli.config.errors import UserError

FLAGS_WITH_A_VALUE = (
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--config-name",
    "-cn",
    "--config-path",
    "-cp",
    "--config-dir",
    "-cd",
    "--info",
    "-i",
)
LISTED_GROUPS = ("augmentation", "callbacks", "logger", "task")
OPTIONAL_GROUPS = ("experiment", "sweep", "variant", "debug")
PLUGINS = {"optuna": "optuna", "slurm": "hydra_plugins.hydra_submitit_launcher"}


def key_of(word: str) -> str:
    """Return the key that a `key=value` word of a command line sets, or adds with a `+`."""
    return word.lstrip("+").partition("=")[0]


def hydra_words(argv: list[str], folder: Path) -> list[str]:
    """Return the words in the order Hydra's parser takes them, with what names a sweep's trials added.

    `+sweep=x` and `sweep=x` mean the same. A trial's folder (runs/x/seed=0,variant=transface/gate) needs no quotes.
    data.sources=[...] needs no data.root. A trial's folder is named after the swept settings alone: those that are the
    same in all trials would make it long, and a path among them would make it a folder of folders.
    """
    flags, words = _split(argv)
    words = [_as_group(_quoted(word), folder) for word in words]
    words += _sources_for_root(words)
    _refuse_absent_plugins(words)
    constant = constant_keys(words)
    words += _sweep_folder(words, constant)
    quoted = ",".join("'" + key.replace("'", "\\'") + "'" for key in constant)
    return [*flags, *words, f"hydra.job.config.override_dirname.exclude_keys=[{quoted}]"]


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    flags: list[str] = []
    words: list[str] = []
    takes_value = False
    for word in argv:
        is_flag = word.startswith("-")
        if not is_flag and not takes_value and "=" not in word and not word.startswith("~"):
            raise UserError(f"expected key=value, got {word!r}; transface <verb> --help shows the keys")
        (flags if is_flag or takes_value else words).append(word)
        takes_value = is_flag and word in FLAGS_WITH_A_VALUE
    return flags, words


def overrides_of(argv: list[str]) -> list[str]:
    """Return the words without the flags, for Hydra's compose(); the folder of --config-dir becomes a search path."""
    flags, words = _split(argv)
    folders = [value for flag, value in itertools.pairwise(flags) if flag in ("--config-dir", "-cd")]
    return [*words, *(f"hydra.searchpath=['file://{Path(folder).resolve()}']" for folder in folders)]


def _quoted(word: str) -> str:
    """Return the word with its value in quotes if that holds what Hydra's grammar has no place for: an equals sign,
    letters beyond ASCII, #.

    An equals sign makes the commas beside it part of a name; else each value between commas is quoted apart.
    """
    key, _, value = word.partition("=")
    is_list = value.startswith("[") and value.endswith("]") and not set("'\"[{") & set(value[1:])
    if (
        not value
        or (value[0] in "'\"[{" and not is_list)
        or "(" in value
        or (("=" not in value or is_list) and _is_grammatical(word))
    ):
        return word
    if "=" in value and not is_list:
        return f"{key}={_in_quotes(value)}"
    parts = (value[1:-1] if is_list else value).split(",")
    joined = ",".join(_in_quotes(part) if part and not _is_grammatical(f"a={part}") else part for part in parts)
    return f"{key}=[{joined}]" if is_list else f"{key}={joined}"


def _in_quotes(text: str) -> str:
    escaped = text.replace("'", "\\'")
    return f"'{escaped}'"


def _is_grammatical(word: str) -> bool:
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True


def _as_group(word: str, folder: Path) -> str:
    name, equals, value = word.lstrip("+").partition("=")
    if value.startswith("[") and name not in LISTED_GROUPS and (folder / name).is_dir():
        raise UserError(
            f"{name} takes one of its options, got {value}; lists go to {', '.join(LISTED_GROUPS)}"
        )  # Hydra would melt them into one
    if value == "null" and (folder / name / "none.yaml").is_file():
        return f"{name}=none"
    if value == "null" and name not in OPTIONAL_GROUPS and (folder / name).is_dir():
        hint = "; validation.every_n_epochs=null validates nothing" if name == "protocol" else ""
        options = ", ".join(options_of(folder, name))
        raise UserError(f"{name}=null: one of its options is needed, {options}{hint}")
    if not equals or name not in OPTIONAL_GROUPS or not (folder / name).is_dir():
        return word
    return f"{name}='nan'" if value == "nan" else f"{name}={value}"  # a bare nan is a number to Hydra


def _sources_for_root(words: list[str]) -> list[str]:
    """Return the word that says that several sources stand in for data.root, unless the user says something of it."""
    given = {word.lstrip("+~").partition("=")[0] for word in words}
    return ["data.root=null"] if "data.sources" in given and "data.root" not in given else []


def _refuse_absent_plugins(words: list[str]) -> None:
    for word in words:
        key, _, value = word.partition("=")
        if key in ("sweep", "hydra/sweeper", "hydra/launcher"):
            for name, module in PLUGINS.items():
                if value.startswith((name, f"submitit_{name}")) and _is_absent(module):
                    raise UserError(
                        f"{word} needs a plugin of Hydra that is not installed: pip install 'transface[cluster]'"
                    )


def _sweep_folder(words: list[str], keys: list[str]) -> list[str]:
    """Return the word that puts a named sweep beside the run of its experiment, unless the user named it or its
    folder.
    """
    sweeps = [word[6:] for word in words if word.startswith("sweep=") and word[6:] != "null"]
    if not sweeps or "name" in keys or any(word.startswith("hydra.sweep.dir=") for word in words):
        return []
    return [f"hydra.sweep.dir='${{paths.runs}}/${{name}}_{sweeps[-1].rpartition('/')[2]}'"]


def _is_absent(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:
        return True


def constant_keys(words: list[str]) -> list[str]:
    """Return the keys that the command line sets to one value; what Hydra will refuse is left to Hydra."""
    keys = []
    parser = OverridesParser.create()
    for word in words:
        try:
            override = parser.parse_override(word)
        except Exception:
            continue
        if not override.is_sweep_override() and not override.is_hydra_override():
            keys.append(override.key_or_group)
    return list(dict.fromkeys(keys))
