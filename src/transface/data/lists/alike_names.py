"""Names of people and groups that differ in how they are written alone, and count as two: it is told."""

import logging
import re
import unicodedata
from collections.abc import Iterable

from transface.told_once import warn_once

log = logging.getLogger(__name__)


def tell_alike(labels: Iterable[str], what: str, *, source: object) -> None:
    """Tell once of labels that differ in how they are written alone (case, accents as one sign or two, 1 and 1.0) and
    count as two.
    """
    first: dict[str, str] = {}
    for label in dict.fromkeys(map(str, labels)):
        other = first.setdefault(_as_spoken(label), label)
        if other != label:
            warn_once(log, "%s: %r and %r are two %s: is one of them written otherwise?", source, other, label, what)


def _as_spoken(label: str) -> str:
    text = unicodedata.normalize("NFKC", label).casefold().strip()
    return str(int(text.partition(".")[0])) if re.fullmatch(r"[0-9]+(\.0*)?", text) else text
