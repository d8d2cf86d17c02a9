"""A user's mistake becomes one clear line and exit code 2, a run that fails in a known way one line and 1; anything
else keeps its traceback.
"""

import errno
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

USER_ERRORS = (ValueError, FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError)


GOES_ON = {
    "train": "resume=true resumes from the last checkpoint",
    "evaluate": "where cache=FOLDER was given, the same command resumes where it was",
    "align": "the same command resumes where it was",
    "embed": "the same command resumes where it was",
    "search": "the same command resumes where it was",
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
    tells_of_logs = logging.raiseExceptions
    logging.raiseExceptions = shows_traceback()  # a full disk fails train.log too, and is told once, by what it stops
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
    finally:
        logging.raiseExceptions = tells_of_logs


def has_line(error: BaseException) -> bool:
    """Return whether one line says all of an error, and nobody asked for its traceback."""
    return not shows_traceback() and (user_line(error) or failure_line(error)) is not None


def shows_traceback() -> bool:
    """Return whether the user asked for tracebacks."""
    return bool(os.environ.get("TRANSFACE_TRACEBACK"))


def _say(error: BaseException, verb: str) -> int:
    """Print the line of an error and return its exit code: 2 for a user's mistake, 1 for a run that failed."""
    line = user_line(error)
    print(f"transface: {line or failure_line(error, verb)}", file=sys.stderr)
    return 1 if line is None else 2


def _then(verb: str) -> str:
    return f"; {GOES_ON[verb]}" if verb in GOES_ON else ""


class Failure(NamedTuple):
    """A way in which a run fails that its user can do something about.

    Attributes:
        matches: whether an error is of this kind.
        line: the one line to show.
        resumes: whether the line ends with how the verb resumes.
    """

    matches: Callable[[Any], bool]
    line: Callable[[Any], str]
    resumes: bool = False


BROKEN_DISK = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EFBIG, errno.ENXIO)
NOT_WRITTEN = re.compile(r"PytorchStreamWriter failed|iostream error|basic_ios::clear")
KILLED = re.compile(r"DataLoader worker .*?killed by signal: [^.]*")
# What gloo and NCCL say of a rank that did not come to a collective, and of one that is gone.
LATE = re.compile(r"Timed out waiting \d+ms for (recv|send)|Watchdog caught collective operation timeout|wait timeout")
GONE = re.compile(r"Connection (closed|reset) by peer|remote process exited|Broken pipe|NCCL .*remote error")


def is_late(error: BaseException) -> bool:
    """Return whether a rank waited in a collective for longer than it may."""
    return any(isinstance(cause, RuntimeError) and LATE.search(str(cause)) is not None for cause in causes(error))


FAILURES = (
    Failure(  # who is waited for cannot speak: a rank that hangs has no words, one that is killed leaves none
        is_late,
        lambda _: (
            "another rank did not come to a collective within trainer.collective_timeout: it hangs, or is far behind"
        ),
        resumes=True,
    ),
    Failure(
        lambda error: type(error).__name__ == "DistNetworkError" or "waiting for clients" in str(error),
        lambda error: (
            "the ranks could not meet at MASTER_ADDR and MASTER_PORT"
            f" ({one_line(str(error))[:200].rstrip('.')}): were all of them started, each with these, and is the port"
            " free and open between the machines?"
        ),
    ),
    Failure(
        lambda error: isinstance(error, RuntimeError) and GONE.search(str(error)) is not None,
        lambda _: "another rank ended without a word: killed, out of memory, or its machine is lost",
        resumes=True,
    ),
    Failure(
        lambda error: isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT),
        lambda error: (
            f"{error.strerror}: {error.filename2 or error.filename or 'a file'} could not be written; make room"
        ),
        resumes=True,
    ),
    Failure(
        lambda error: isinstance(error, OSError) and error.errno in BROKEN_DISK,
        lambda error: (
            f"{error.strerror}: {error.filename2 or error.filename or 'a file'} could not be read or written: is the"
            " disk broken, or the network to it?"
        ),
        resumes=True,
    ),
    Failure(  # of torch and safetensors, which have no errors of the system
        lambda error: type(error).__name__ == "SafetensorError" or NOT_WRITTEN.search(str(error)) is not None,
        lambda error: (
            f"a file of weights could not be written ({one_line(str(error))[:120]}): is the disk full or broken?"
        ),
        resumes=True,
    ),
    Failure(lambda error: getattr(error, "says_all", False), lambda error: one_line(str(error))),
    Failure(
        lambda error: isinstance(error, RuntimeError) and KILLED.search(str(error)) is not None,
        lambda error: (
            f"{KILLED.findall(str(error))[0]}: a machine or container out of (shared) memory kills its workers; lower"
            " data.num_workers, or give it more (docker run --shm-size=8g)"
        ),
        resumes=True,
    ),
    Failure(  # by its name: torch is not imported to say what went wrong
        lambda error: type(error).__name__ == "OutOfMemoryError",
        lambda error: (
            f"{one_line(str(error)).split('. ')[0]}. Take smaller batches (gradient_accumulation=2 halves what a"
            " training step holds at the same total), or trainer.precision=bf16-mixed,"
            " backbone.gradient_checkpointing=true, classifier=partial_fc"
        ),
    ),
)


def failure_line(error: BaseException, verb: str = "") -> str | None:
    """Return the one line to show where a run failed in a way that its user can do something about, None where only a
    traceback helps.
    """
    for cause in causes(error):
        for failure in FAILURES:
            if failure.matches(cause):
                return failure.line(cause) + (_then(verb) if failure.resumes else "")
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
            return one_line(str(cause).split("Config search path:")[0])
        if isinstance(cause, USER_ERRORS):
            return one_line(str(cause))
        if type(cause).__module__.startswith("yaml."):  # a broken file, or a tag that would run something
            return f"a YAML file cannot be read: {one_line(str(cause))}"
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
