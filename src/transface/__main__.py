"""The command line: `transface <verb> key=value ...`; answers --help without importing torch."""

import contextlib
import importlib
import sys

from transface.cli.config.verbs import MODULES, SERVING, VERBS
from transface.progress import working


def usage() -> str:
    """Return the text of `transface --help`."""
    lines = [f"  {verb:<11} {line}" for verb, line in VERBS.items()]
    return "\n".join(
        [
            "transface: train and benchmark face models",
            "",
            "usage: transface <verb> [key=value ...]",
            "",
            *lines,
            "",
            "transface <verb> --help shows what a verb takes, --version the version.",
            "TRANSFACE_TRACEBACK=1 shows where an error came from.",
        ]
    )


def help_of(verb: str) -> str:
    """Return the help of a verb that has a config of its own keys, "" of one that answers --help itself."""
    from transface.cli.config.folder import conf_folder
    from transface.cli.config.verb_help import verb_help

    has_own_keys = verb != "train" and (conf_folder() / f"{verb}.yaml").is_file()
    return verb_help(verb, conf_folder()) if has_own_keys else ""


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return its exit code: 0, 1 (something was found or failed), or 2 (the call or the input is
    wrong).
    """
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[0] == "--version":
        from transface import __version__

        print(__version__)
        return 0
    verb, *rest = words
    if verb not in VERBS:
        print(f"transface: no verb {verb!r}; there are {', '.join(VERBS)}", file=sys.stderr)
        return 2
    from transface.cli.config.errors import reported

    with reported(verb) as outcome:
        if {"-h", "--help"} & set(rest) and (text := help_of(verb)):
            print(text)
            sys.stdout.flush()
            return 0
        module = importlib.import_module(f"transface.cli.{MODULES.get(verb, verb)}")
        with contextlib.nullcontext() if verb in SERVING else working(verb):
            outcome.code = int(module.main(rest) or 0)
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
