"""What a model may be evaluated by is told in words that work."""

from typing import Any

from transface.backbones.features import Output
from transface.cli.runs.fitting_protocols import fitting_protocols

TASKS = "transface.systems.generalist.task_data"


def task(reader: str, root: str, **settings: Any) -> dict[str, Any]:
    return {"_target_": f"{TASKS}.{reader}", "_partial_": True, "root": root, **settings}


def test_each_output_has_its_protocol_and_the_data_of_its_task() -> None:
    outputs = {
        "embedding": Output("embedding"),
        "attributes": Output("several_of", ("Bald", "Young")),
        "years": Output("number", unit="years"),
        "expression": Output("one_of", ("happiness", "sadness")),
        "landmarks": Output("points", ("a",)),
        "parsing": Output("regions", ("a", "b")),
    }
    sets = {
        "attributes": task("attribute_data", "data/celeba", val_identity_share=0.2),
        "years": task("labelled_data", "data/utkface", column="age", shares=[0.8, 0.1, 0.1]),
        "expression": task("labelled_data", "data/fer", column="expression", kind="fer2013"),
        "landmarks": task("dense_data", "data/300w", split_seed=3),
    }
    assert fitting_protocols(outputs, {"data": {"sets": sets, "fit": "resize"}}) == [
        "protocol=pair_sets protocol.files=[a.bin,b.bin]",
        "protocol=attributes protocol.root=data/celeba protocol.fit=resize protocol.val_identity_share=0.2",
        "protocol=photographs protocol.root=data/utkface protocol.column=age protocol.output=years protocol.fit=resize"
        " protocol.shares=[0.8,0.1,0.1]",
        "protocol=photographs protocol.root=data/fer protocol.column=expression protocol.fit=resize"
        " protocol.kind=fer2013",
        "protocol=points protocol.root=data/300w protocol.split_seed=3",
        "protocol=regions protocol.root=FOLDER",
    ]


def test_the_only_set_is_that_of_every_output() -> None:
    outputs = {"age": Output("number", unit="years"), "gender": Output("one_of", ("male", "female"))}
    data = {"_target_": "transface.systems.occlusion.datamodule.OcclusionData", "root": "faces", "split_seed": 2}
    assert fitting_protocols(outputs, {"data": data}) == [
        "protocol=photographs protocol.root=faces protocol.column=age protocol.split_seed=2",
        "protocol=photographs protocol.root=faces protocol.column=gender protocol.split_seed=2",
    ]
    assert fitting_protocols({"smiles": Output("several_of", ("a", "b"))}, {}) == [
        "protocol=attributes protocol.root=FOLDER +protocol.output=smiles"
    ]
