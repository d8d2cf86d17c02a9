"""`transface models`: the families of released weights that open, who publishes them, under which terms, with which
figures.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parents[1] / "inference" / "published_models.yaml"
PAIR_SETS = ("LFW", "CFP-FP", "AgeDB-30")
IJBC = ("IJB-C 1e-5", "1e-4")


def main(argv: list[str]) -> int:
    """Run `transface models`; a word names one family."""
    parser = argparse.ArgumentParser(
        prog="transface models",
        description="Lists the families of released weights that open with checkpoint=, and where their owners publish"
        " them. Nothing is downloaded.",
    )
    parser.add_argument("family", nargs="?", choices=list(published_models()), help="one of them")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    given = parser.parse_args(argv)
    found = {name: about for name, about in published_models().items() if given.family in (None, name)}
    print(json.dumps(found, indent=1) if given.json else "\n\n".join(as_text(*entry) for entry in found.items()))
    return 0


def published_models() -> dict[str, Any]:
    """Return the families by name, as the file holds them."""
    content: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return content


def as_text(name: str, about: dict[str, Any]) -> str:
    """Return a family in a few lines."""
    lines = [f"{name}: {about['what']}"]
    lines += [f"  {key:<11}{about[key]}" for key in ("owner", "where", "opens", "licence")]
    for model in about["models"]:
        figures = [f"{title} {value}" for title, value in zip(IJBC, model.get("ijbc", ()), strict=False)]
        figures += [f"{title} {value}" for title, value in zip(PAIR_SETS, model.get("pairs", ()), strict=False)]
        lines.append(f"  {'published':<11}{model['name']}, {model['trained_on']}: {', '.join(figures)}")
    return "\n".join(lines)
