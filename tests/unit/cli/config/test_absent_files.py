"""What a command names and is not there is told at once; what only another machine can say is left to it."""

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
