"""The pictures of a run's report that need its model: dominant patches and the perturbed faces, on faces of its
validation sets.
"""

import logging
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
NUM_FACES = 5
NUM_PATCHES = (7, 15)


def dominant_patches_of(run_folder: str | Path) -> dict[str, Any]:
    """Return {"dominant_patches": figure} for a run with a gated backbone and a pair set at hand, else {}."""
    from transface.images.pixels import normalise
    from transface.inference.opening import load
    from transface.systems.recognition.patch_picture import dominant_patches_picture, perturbed_faces

    images = faces_of(Path(run_folder))
    if images is None or not (Path(run_folder) / "checkpoints").is_dir():
        return {}
    backbone: Any = load(run_folder).backbone
    rows, columns = backbone.grid_size
    floats = normalise(images)
    own = dpap_settings(Path(run_folder))
    counts = [count for count in own.pop("num_patches", NUM_PATCHES) if count <= rows * columns]
    if (
        not counts
        or tuple(images.shape[-2:]) != tuple(backbone.image_size)
        or backbone.patch_importance(floats[:1]) is None
    ):
        return {}
    importance, perturbed = perturbed_faces(backbone, images, num_patches=counts, **own)
    figure = dominant_patches_picture(images, importance, perturbed, backbone.grid_size, backbone.patch_size)
    return {"dominant_patches": figure}


def dpap_settings(run_folder: Path) -> dict[str, Any]:
    """Return what the run's own DPAP was set to: "num_patches" (K,), "alpha", "quantize"; {} for a run without it."""
    from transface.reports.reading.runs import read_mapping

    settings = read_mapping(run_folder / "config.yaml").get("perturbation")
    if not isinstance(settings, dict) or not isinstance(settings.get("num_patches"), int):
        return {}
    kept = {name: settings[name] for name in ("alpha", "quantize") if settings.get(name) is not None}
    return {"num_patches": (settings["num_patches"],), **kept}


def faces_of(run_folder: Path) -> Any:
    """Return a few faces (B, 3, H, W) uint8 of different people from the run's first validation pair set, or None."""
    from transface.data.benchmarks.pairs import read_pair_set
    from transface.images.decoding import decode_images
    from transface.reports.reading.runs import read_mapping

    protocol = read_mapping(run_folder / "config.yaml").get("protocol")
    files = protocol.get("files") if isinstance(protocol, dict) else None
    found = next((Path(file) for file in files or [] if Path(file).is_file()), None)
    if found is None:
        return None
    images = read_pair_set(found).images
    step = max(len(images) // NUM_FACES // 2 * 2, 2)
    return decode_images([bytes(image) for image in images[::step][:NUM_FACES]])
