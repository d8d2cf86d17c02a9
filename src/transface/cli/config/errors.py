"""A user's mistake becomes one clear line and exit code 2, a run that fails in a known way one line and 1; anything
else keeps its traceback.
"""

import difflib
import errno
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER_ERRORS = (ValueError, FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError)


GOES_ON = {
    "train": "resume=true goes on from the last checkpoint",
    "evaluate": "where cache=FOLDER was given, the same command goes on where it was",
    "align": "the same command goes on where it was",
    "embed": "the same command goes on where it was",
    "search": "the same command goes on where it was",
}


@dataclass
class Outcome:
    """The exit code of a verb."""

    code: int = 0


class UserError(ValueError):
    """What a user gave is wrong; its text is the whole message."""


class Carried(BaseException):
    """Takes an error that has its line out of a Hydra job without Hydra's own report of it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def reported(verb: str = "") -> Iterator[Outcome]:
    """Run a verb's body; print an error that has its line as that line on stderr and set the exit code.
    TRANSFACE_TRACEBACK=1 lets it through.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)
    outcome = Outcome()
    try:
        yield outcome
    except Carried as carried:
        outcome.code = _say(carried.error, verb)
    except KeyboardInterrupt:
        print(f"transface: stopped by the user{_then(verb)}", file=sys.stderr)
        outcome.code = 130
    except BrokenPipeError:  # `transface ... | head`: who read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        outcome.code = 1
    except Exception as error:
        if not has_line(error):
            raise
        outcome.code = _say(error, verb)


def has_line(error: BaseException) -> bool:
    """Return whether one line says all of an error, and nobody asked for its traceback."""
    return not os.environ.get("TRANSFACE_TRACEBACK") and (user_line(error) or failure_line(error)) is not None


def _say(error: BaseException, verb: str) -> int:
    """Print the line of an error and return its exit code: 2 for a user's mistake, 1 for a run that failed."""
    line = user_line(error)
    print(f"transface: {line or failure_line(error, verb)}", file=sys.stderr)
    return 1 if line is None else 2


def _then(verb: str) -> str:
    return f"; {GOES_ON[verb]}" if verb in GOES_ON else ""


def failure_line(error: BaseException, verb: str = "") -> str | None:
    """Return the one line to show where a run failed in a way that its user can do something about, None where only a
    traceback helps.
    """
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return (
                f"{cause.strerror}: {cause.filename2 or cause.filename or 'a file'} could not be written; make"
                f" room{_then(verb)}"
            )
        if type(cause).__name__ == "NonFiniteLossError":
            return one_line(str(cause))
        if (killed := re.search(r"DataLoader worker .*?killed by signal: [^.]*", str(cause))) and isinstance(
            cause, RuntimeError
        ):
            return (
                f"{killed.group()}: a machine or container out of (shared) memory kills its workers; lower"
                f" data.num_workers, or give it more (docker run --shm-size=8g){_then(verb)}"
            )
        if type(cause).__name__ == "OutOfMemoryError":
            said = one_line(str(cause)).split(". ")[0]
            return (
                f"{said}. Take smaller batches (gradient_accumulation=2 halves what a training step holds at the same"
                " total), or trainer.precision=bf16-mixed, backbone.gradient_checkpointing=true, classifier=partial_fc"
            )
    return None


def user_line(error: BaseException) -> str | None:
    """Return the one line to show for a user's mistake, or None if the error is ours."""
    for cause in causes(error):
        if isinstance(cause, PermissionError) or (isinstance(cause, OSError) and cause.errno == errno.EROFS):
            return (
                f"no permission to write or read {cause.filename or ''}: {cause.strerror or cause}; choose another"
                " folder or change its permissions"
            )
        if isinstance(cause, NotADirectoryError | FileExistsError) and cause.filename and cause.strerror:
            return f"{cause.filename}: a file stands where a folder is wanted; choose another name or remove it"
        if isinstance(cause, FileNotFoundError) and cause.filename and cause.strerror:
            return f"no such file or folder: {cause.filename}"
        if is_config_error(cause):
            return hydra_line(error if is_config_error(error) else cause)
        if isinstance(cause, USER_ERRORS):
            return one_line(str(cause))
    if type(error).__name__ == "InstantiationException":
        return instantiation_line(error)
    return None


def instantiation_line(error: BaseException) -> str:
    """Return one line for a part that could not be built: which part of the config, and what its constructor said."""
    text = str(error)
    key = re.search(r"full_key: (\S+)", text)
    said = one_line(str(causes(error)[-1]))
    where = key.group(1) if key else "the config"
    unexpected = re.search(r"(\S+?)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'", said)
    if unexpected:
        return f"no setting {where}.{unexpected.group(2)}: {unexpected.group(1)} takes none of that name"
    if isinstance(causes(error)[-1], TypeError):
        return f"{where} cannot be built: {said}; is one of its values of the wrong kind?"
    return f"{where} cannot be built: {said}"


def is_config_error(error: BaseException) -> bool:
    """Return whether Hydra or OmegaConf refused the config itself (not: a part failed while it was built)."""
    return (
        type(error).__module__.startswith(("hydra", "omegaconf")) and type(error).__name__ != "InstantiationException"
    )


def causes(error: BaseException) -> list[BaseException]:
    """Return the error and its causes, the outermost first: who caught an error knows more of what to do about it."""
    chain: list[BaseException] = []
    seen: BaseException | None = error
    while seen is not None and seen not in chain:
        chain.append(seen)
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return chain


def one_line(text: str) -> str:
    """Return the text with its lines joined."""
    return "; ".join(part.strip() for part in text.strip().splitlines() if part.strip())


def hydra_line(error: BaseException) -> str:
    """Return one line for an error of Hydra or OmegaConf: which key, and what is near it."""
    text = str(error).split("Config search path:")[0].strip()
    option = re.search(r"Could not find '([^']+)/([^']+)'", text)
    if option and "Available options" in text:
        group, choice = option.groups()
        choices = [line.strip() for line in text.split(":")[-1].splitlines() if line.strip()]
        nested = [name for name in (options_of(group) if _CONF else []) if "/" in name]
        return f"no {group}={choice}: {_moved(group, choice) or 'there are ' + ', '.join([*choices, *nested])}"
    unlisted = re.search(r"Could not load '([^']+)/([^']+)'", text)
    if unlisted and _CONF:
        group, choice = unlisted.groups()
        return f"no {group}={choice}: {_moved(group, choice) or 'there are ' + ', '.join(options_of(group))}"
    missing = re.search(r"Key '([^']+)' is not in struct", text)
    override = re.search(r"Could not override '([^']+)'", text)
    if override or missing:
        name = override.group(1) if override else missing.group(1)  # type: ignore[union-attr]
        known = known_keys()
        near = difflib.get_close_matches(name, known, n=3) or difflib.get_close_matches(name.split(".")[-1], known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "'--cfg job' prints all keys"
        return f"no config key {name!r}: {hint} (+{name}=... adds a key that is not there)"
    return one_line(text)


def options_of(group: str) -> list[str]:
    """Return the options of a config group, those in folders as folder/name."""
    folder = _CONF[0] / group
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def _moved(group: str, choice: str) -> str:
    """Return what an option is called now that has moved into the folder of its paper; "" where it is none of these."""
    found = [
        name
        for name in (options_of(group) if _CONF else [])
        if "/" in name and choice in (name.replace("/", "_"), name.rpartition("/")[2])
    ]
    return f"it is called {' or '.join(f'{group}={name}' for name in found)} now" if found else ""


_KNOWN: list[str] = []
_CONF: list[Path] = []


def remember_keys(keys: list[str], *, folder: Path) -> None:
    """Keep the keys of the composed config and the folder of its groups for the hint of a misspelt one."""
    _KNOWN[:], _CONF[:] = keys, [folder]


def known_keys() -> list[str]:
    """Return the keys last remembered."""
    return list(_KNOWN)
