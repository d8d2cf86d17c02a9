"""The section of each set of a report: what it shows is chosen by the kind of its results."""

from collections.abc import Callable, Mapping, Sequence

from transface.evaluation.results import Kind
from transface.reports.page.document import Block, Paragraph, Section
from transface.reports.reading.runs import Run, named_results, set_keys
from transface.reports.recognition.hard_pairs import ImageSource
from transface.reports.recognition.pair_section import pair_blocks
from transface.reports.sections.result_sections import SetResults, in_one_table, plain_blocks
from transface.reports.sections.result_tables import counts_text

SECTIONS: Mapping[Kind, Callable[[SetResults], list[Block]]] = {
    "pairs": pair_blocks,
    "search": pair_blocks,
    "classes": plain_blocks,
    "values": plain_blocks,
    "points": plain_blocks,
    "regions": plain_blocks,
}
PROTOCOL_NAMES = {
    "attributes": "attributes",
    "pair_sets": "ten-fold verification",
    "ijbb": "IJB-B 1:1",
    "ijbc": "IJB-C 1:1",
    "ijbb_identification": "IJB-B 1:N",
    "ijbc_identification": "IJB-C 1:N",
    "tinyface": "identification",
    "rfw": "four groups",
    "folder": "folder of people",
    "pairs_csv": "pairs from a CSV",
    "groups": "groups of people",
    "error_discard": "error versus discard",
    "translation": "from one model to another",
}


def set_sections(runs: Sequence[Run], *, images: Mapping[str, ImageSource] | None = None) -> list[Section]:
    """Return a section for each set. `images`: by the set's name, for hardest pairs without thumbnails."""
    alone = in_one_table(runs)
    found = []
    for place, key in enumerate(set_keys(result for run in runs for result in run.results)):
        of_key = (images or {}).get(key.name)
        found.append(SetResults(key, named_results(runs, key), not alone, of_key, place if alone else None))
    return list(map(set_section, found))


def set_section(found: SetResults) -> Section:
    """Return the section of one set."""
    described = dict.fromkeys(counts_text(result) for result in found.results.values())
    counts = [Paragraph(". ".join(text for text in described if text) + ".")] if any(described) else []
    kind = next(iter(found.results.values())).kind
    title = f"{found.key.name} ({PROTOCOL_NAMES.get(found.key.protocol, found.key.protocol)})"
    return Section(title, (*counts, *SECTIONS[kind](found)))
