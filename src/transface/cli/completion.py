"""`transface completion bash|zsh|fish`: a script that completes verbs, keys and options of groups in a shell."""

import argparse
import re
from pathlib import Path

from transface.cli.config.config_errors import options_of
from transface.cli.config.folder import conf_folder
from transface.cli.config.verbs import VERBS
from transface.cli.copy_config import groups

INSTALL = {
    "bash": 'eval "$(transface completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(transface completion zsh)"   # in ~/.zshrc',
    "fish": "transface completion fish | source   # in ~/.config/fish/config.fish",
}
BASH = """# {install}
_transface() {{
  local line word verb values= names=
  line="${{COMP_LINE:0:COMP_POINT}}"
  word="${{line##* }}"
  verb="${{COMP_WORDS[1]}}"
  COMPREPLY=()
  if [ "$COMP_CWORD" -le 1 ]; then
    COMPREPLY=( $(compgen -W "{verbs}" -- "$word") )
    return
  fi
  if [[ "$word" == *=* ]]; then
    case "$verb/${{word%%=*}}" in
{values}
    esac
    if [ -n "$values" ]; then
      COMPREPLY=( $(compgen -W "$values" -- "${{word#*=}}") )
    else
      COMPREPLY=( $(compgen -f -- "${{word#*=}}") )
    fi
    # Where the shell breaks words at "=", it has the key already.
    if [[ "$COMP_WORDBREAKS" != *=* ]]; then
      COMPREPLY=( "${{COMPREPLY[@]/#/${{word%%=*}}=}}" )
    fi
    return
  fi
  case "$verb" in
{names}
  esac
  COMPREPLY=( $(compgen -W "$names" -- "$word") $(compgen -f -- "$word") )
  if [[ "${{COMPREPLY[0]}}" == *= ]]; then compopt -o nospace 2>/dev/null; fi
}}
complete -o filenames -o nospace -F _transface transface
"""


def main(argv: list[str]) -> int:
    """Run `transface completion SHELL`: print the script."""
    parser = argparse.ArgumentParser(
        prog="transface completion",
        description="Prints a script that completes words; each new shell makes it anew by the line of its kind:\n  "
        + "\n  ".join(INSTALL.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=list(INSTALL))
    print(script(parser.parse_args(argv).shell), end="")
    return 0


def script(shell: str) -> str:
    """Return the script of a shell."""
    if shell == "fish":
        return fish_script()
    verbs = {verb: keys_of(verb) for verb in VERBS}
    values = [
        f'      {verb}/{key}) values="{" ".join(options_of(conf_folder(), key))}" ;;'
        for verb, keys in verbs.items()
        for key in keys
        if is_group(key)
    ]
    names = [f'    {verb}) names="{" ".join(f"{key}=" for key in keys)}" ;;' for verb, keys in verbs.items() if keys]
    text = BASH.format(install=INSTALL[shell], verbs=" ".join(VERBS), values="\n".join(values), names="\n".join(names))
    return (
        "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n" * (shell == "zsh") + text
    )


def fish_script() -> str:
    """Return the script of fish: a line for each verb, and one for each verb's keys."""
    lines = [f"# {INSTALL['fish']}"]
    for verb, said in VERBS.items():
        about = said.split(":")[0].replace("'", "")
        lines.append(f"complete -c transface -f -n __fish_use_subcommand -a {verb} -d '{about}'")
        words = [
            f"{key}={option}" for key in keys_of(verb) if is_group(key) for option in options_of(conf_folder(), key)
        ]
        words += [f"{key}=" for key in keys_of(verb)]
        if words:
            lines.append(f"complete -c transface -n '__fish_seen_subcommand_from {verb}' -a '{' '.join(words)}'")
    return "\n".join(lines) + "\n"


def keys_of(verb: str) -> list[str]:
    """Return the settings at the top of a verb's config, its groups among them; [] where it takes plain options."""
    if verb == "config":
        return [group for group in all_groups() if "/" not in group]
    file = conf_folder() / f"{verb}.yaml"
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8")
    own = re.findall(r"^(\w+):", text, re.M)
    groups = re.findall(r"^  - (?:optional )?(?:override )?/?(\w+):", text, re.M)
    if verb == "train":
        groups += [group for group in all_groups() if "/" not in group]
        own += re.findall(r"^(\w+):", (file.parent / "system" / "recognition.yaml").read_text(encoding="utf-8"), re.M)
    return sorted({*own, *groups} - {"defaults", "hydra"})


def all_groups() -> list[str]:
    """Return the groups of settings."""
    return [group for group in groups() if group != "hydra"]


def is_group(key: str) -> bool:
    """Return whether a setting is chosen by the name of a file."""
    folder: Path = conf_folder() / key
    return folder.is_dir()
