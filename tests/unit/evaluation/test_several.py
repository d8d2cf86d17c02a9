"""Several protocols as one."""

import pytest

from transface.evaluation.results import Measure, Result
from transface.evaluation.several import Several


class Stated:
    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.prepared = False

    def prepare(self) -> None:
        self.prepared = True

    def evaluate(self, runner: object, *, detailed: bool = True) -> list[Result]:
        return [Result("stated", name, "", (Measure("accuracy", 0.5),)) for name in self.names]


def test_all_are_prepared_and_all_results_are_given_in_order() -> None:
    first, second, nothing = Stated("a"), Stated("b", "c"), Stated()
    several = Several({"x": first, "y": second, "z": None, "none": nothing})
    several.prepare()
    assert (first.prepared, second.prepared, nothing.prepared) == (True, True, False)
    assert several.names == ["x/a", "y/b", "y/c"]
    assert [result.name for result in several.evaluate(None)] == ["a", "b", "c"]


def test_two_results_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two protocols give the result stated_a"):
        Several({"x": Stated("a"), "y": Stated("a")}).evaluate(None)


def test_no_protocol_is_nothing_to_do() -> None:
    assert Several({}).names == []
