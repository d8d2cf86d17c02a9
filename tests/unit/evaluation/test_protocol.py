"""A protocol refuses settings that cannot be when it is built: its faces may take hours to embed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from transface.evaluation.protocol import check_settings
from transface.evaluation.recognition.ijb_identification import IjbComplete, IjbIdentification
from transface.evaluation.recognition.ijb_verification import IjbVerification
from transface.evaluation.recognition.own_protocols import PairsCsv, PeopleFolder
from transface.evaluation.recognition.pair_sets import PairSets
from transface.evaluation.recognition.rfw import Rfw
from transface.evaluation.recognition.tinyface import TinyFace

PROTOCOLS: tuple[Callable[..., Any], ...] = (
    IjbComplete,
    IjbIdentification,
    IjbVerification,
    PairsCsv,
    PeopleFolder,
    PairSets,
    Rfw,
    TinyFace,
)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_replicates_are_counted_from_zero(protocol: Callable[..., Any], tmp_path: Path) -> None:
    where = [] if protocol is PairSets else [tmp_path]
    protocol(*where, num_bootstraps=0)
    with pytest.raises(ValueError, match="num_bootstraps must be at least 0"):
        protocol(*where, num_bootstraps=-1)


@pytest.mark.parametrize(
    ("protocol", "setting", "said"),
    [
        (PairSets, {"fars": [2.0]}, "fars must lie in"),
        (IjbVerification, {"fars": [-0.1]}, "fars must lie in"),
        (IjbIdentification, {"fpirs": [1.1]}, "fpirs must lie in"),
        (IjbIdentification, {"ranks": [0]}, "ranks must be at least 1"),
        (TinyFace, {"ranks": [1, -5]}, "ranks must be at least 1"),
        (PeopleFolder, {"max_impostors": 0}, "max_impostors at least 1"),
        (PairsCsv, {"max_impostors": -3}, "max_impostors at least 1"),
        (PairSets, {"num_folds": 1}, "num_folds must be at least 2"),
    ],
)
def test_a_setting_that_cannot_be_is_named(
    protocol: Callable[..., Any], setting: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        protocol(*([] if protocol is PairSets else [tmp_path]), **setting)


def test_one_replicate_is_no_bootstrap() -> None:
    with pytest.raises(ValueError, match="not 1"):
        check_settings(num_bootstraps=1)
    check_settings(num_bootstraps=0)
    check_settings(num_bootstraps=2)
