"""What a command names and is not there is told at once; what only another machine can say is left to it."""

import contextlib
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from transface.cli.config.absent_files import VERBS, refuse_absent

WITH_A_MODEL = sorted(verb for verb, keys in VERBS.items() if "checkpoint" in keys and verb not in ("embed", "compare"))


@pytest.mark.parametrize("verb", WITH_A_MODEL)
@pytest.mark.parametrize("checkpoint", ["hf:org/name", "hf:org/name@abc:model.safetensors", "s3://bucket/run"])
def test_a_model_of_the_hub_or_of_another_machine_is_not_looked_for_here(verb: str, checkpoint: str) -> None:
    refuse_absent(OmegaConf.create({"checkpoint": checkpoint}), verb)


@pytest.mark.parametrize("verb", WITH_A_MODEL)
def test_a_model_that_is_not_there_is_named(verb: str) -> None:
    with pytest.raises(FileNotFoundError, match="no model at hf/org: expected a run folder"):
        refuse_absent(OmegaConf.create({"checkpoint": "hf/org"}), verb)


@pytest.mark.parametrize(
    ("verb", "key", "message"),
    [
        ("train", "data.root", "no data at nowhere, which data.root names"),
        ("train", "world", "no data at nowhere, which world names: 'transface synthesize kind=world root=nowhere'"),
        ("train", "protocol.root", "no data at nowhere, which protocol.root names"),
        ("train", "resume", "no checkpoint at nowhere"),
        ("evaluate", "protocol.root", "no data at nowhere, which protocol.root names"),
        ("export", "verify.root", "no data at nowhere, which verify.root names"),
    ],
)
def test_data_that_is_not_there_is_named_where_the_command_line_gives_it(verb: str, key: str, message: str) -> None:
    cfg = OmegaConf.create({"points": None})
    OmegaConf.update(cfg, key, "nowhere", force_add=True)
    with pytest.raises(FileNotFoundError, match=message):
        refuse_absent(cfg, verb, [f"{key}=nowhere"])
    refuse_absent(OmegaConf.merge(cfg, {"plan": True}), verb, [f"{key}=nowhere"])
    if key != "resume":
        refuse_absent(cfg, verb)  # what stands in a file of ours is left to whoever reads it


def test_data_of_a_part_that_is_not_ours_is_left_to_it() -> None:
    given = ["data.root=nowhere"]
    for target, refused in (("own.Downloads", False), ("transface.systems.attributes.AttributesData", True)):
        cfg = OmegaConf.create({"data": {"_target_": target, "root": "nowhere"}})
        with pytest.raises(FileNotFoundError) if refused else contextlib.nullcontext():
            refuse_absent(cfg, "train", given)


@pytest.mark.parametrize("resume", [True, False, "auto", "True"])
def test_a_resume_that_is_no_path_is_not_looked_for(resume: bool | str) -> None:
    refuse_absent(OmegaConf.create({"resume": resume}), "train")


def test_absent_data_of_a_training_is_told_before_torch_is_imported() -> None:
    program = """
import sys
from transface.__main__ import main
assert main(["train", "experiment=mzts/demo", "data.root=nowhere"]) == 2
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
