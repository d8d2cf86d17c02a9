"""The pictures of an attribute run's report that need its model: where its zones look, and what its exits reach, on
images of its validation split.
"""

from pathlib import Path
from typing import Any

ATTRIBUTES = "transface.evaluation.classes.attributes.Attributes"
NUM_ZONE_IMAGES = 1000  # of the split, spread over it
ZONE_BATCH = 64


def zones_of(run_folder: str | Path) -> dict[str, Any]:
    """Return {"zone_attention": figure, "exits": figure} for a run of attributes whose images are at hand, else {}."""
    from transface.cli.config.compose import instantiate
    from transface.data.sources.image_files import ImageFiles, PathTable
    from transface.data.sources.labelled import LabelledImages
    from transface.evaluation.labelled import LabelledSource
    from transface.inference.opening import load
    from transface.reports.attributes.zone_pictures import exits_figure, exits_of, looks_figure, zone_logits, zone_looks
    from transface.reports.reading.runs import read_mapping
    from transface.systems.attributes.attribute_network import AttributeNetwork

    protocol = read_mapping(Path(run_folder) / "config.yaml").get("protocol")
    if not isinstance(protocol, dict) or protocol.get("_target_") != ATTRIBUTES:
        return {}
    root = protocol.get("root")
    if not root or not Path(root).exists() or not (Path(run_folder) / "checkpoints").is_dir():
        return {}
    network: Any = load(run_folder, device="cpu").backbone
    if not isinstance(network, AttributeNetwork):
        return {}
    measured = instantiate(protocol)
    opened = measured.opened()
    rows = opened.rows(measured.split)
    rows = rows[:: max(1, -(-len(rows) // NUM_ZONE_IMAGES))]
    labels = opened.labels.chosen(list(network.label_names))
    images = ImageFiles(opened.root, PathTable(opened.paths), image_size=network.image_size)
    source = LabelledSource(measured.names[0], LabelledImages(images, labels, rows=rows))
    parts = [range(start, min(start + ZONE_BATCH, len(rows))) for start in range(0, len(rows), ZONE_BATCH)]
    batches = [source.read(part, network.image_size) for part in parts]
    pictures = {"zone_attention": looks_figure(zone_looks(network, batches), network.encoder.grid_size)}
    if not network.stripped:
        truth = labels.take(rows.tolist())
        people = None if opened.identities is None else opened.identities[rows]
        exits = exits_of(network, zone_logits(network, batches), truth.values, truth.known, subjects=people)
        pictures["exits"] = exits_figure(exits, split=f"{len(rows):,} images of {measured.split}")
    return pictures
