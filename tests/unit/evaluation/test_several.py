"""Several protocols as one."""

import pytest
from torch import nn

from transface.evaluation.protocol import run_protocol, stamped
from transface.evaluation.results import Measure, Result
from transface.evaluation.runner import ModelRunner
from transface.evaluation.several import Several

RUNNER = ModelRunner(nn.Linear(2, 1), progress=False, checkpoint_hash="ab")


class Stated:
    def __init__(self, *names: str, threshold: float = 0.5) -> None:
        self.names = list(names)
        self.threshold, self.seed = threshold, 7
        self._prepared = False

    def prepare(self) -> None:
        self._prepared = True

    def evaluate(self, runner: object, *, detailed: bool = True) -> list[Result]:
        return [Result("stated", name, "", (Measure("accuracy", 0.5),)) for name in self.names]


def test_all_are_prepared_and_all_results_are_given_in_order() -> None:
    first, second, nothing = Stated("a"), Stated("b", "c"), Stated()
    several = Several({"x": first, "y": second, "z": None, "none": nothing})
    several.prepare()
    assert (first._prepared, second._prepared, nothing._prepared) == (True, True, False)
    assert several.names == ["x/a", "y/b", "y/c"]
    assert [result.name for result in several.evaluate(RUNNER)] == ["a", "b", "c"]


def test_two_results_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two protocols give the result stated_a"):
        Several({"x": Stated("a"), "y": Stated("a")}).evaluate(RUNNER)


def test_no_protocol_is_nothing_to_do() -> None:
    assert Several({}).names == []


def test_each_protocol_stamps_its_own_results_once() -> None:
    several = Several({"x": Stated("a", threshold=0.25), "y": Stated("b", "c")})
    first, second, third = (result.provenance for result in run_protocol(several, RUNNER))
    assert first.settings == {"precision": "32", "seed": 7, "threshold": 0.25}
    assert second.settings == third.settings == {"precision": "32", "seed": 7, "threshold": 0.5}
    assert second == third
    assert first.model_fingerprint == RUNNER.fingerprint()
    assert (first.checkpoint_hash, first.device, first.seed) == ("ab", "cpu", 7)
    assert "torch" in first.versions
    (told, *_) = stamped(run_protocol(several, RUNNER), label="run", commit="c0ffee")
    assert (told.provenance.label, told.provenance.commit) == ("run", "c0ffee")
    assert told.provenance.settings == first.settings


def test_numbers_alone_do_not_hash_every_weight() -> None:
    (result,) = run_protocol(Stated("a"), RUNNER, detailed=False)
    assert result.provenance.model_fingerprint == ""
    assert result.provenance.created
