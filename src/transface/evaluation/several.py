"""Several protocols as one: what a network that answers several questions is measured with."""

from collections.abc import Mapping
from typing import Any

from transface.evaluation.protocol import BenchmarkProtocol, run_protocol
from transface.evaluation.results import Result


class Several:
    """A protocol: others, one after the other.

    Args:
        protocols: by any name; a None is left out.

    Raises:
        ValueError: if two of them would write results of one name.
    """

    def __init__(self, protocols: Mapping[str, BenchmarkProtocol | None]) -> None:
        self.protocols = {name: own for name, own in protocols.items() if own is not None and own.names}
        self.names = [f"{name}/{inner}" for name, own in self.protocols.items() for inner in own.names]

    def prepare(self) -> None:
        """Prepare each of them, so that what is missing is known before the first step."""
        for own in self.protocols.values():
            own.prepare()

    def evaluate(self, runner: Any, *, detailed: bool = True) -> list[Result]:
        """Return the results of all of them, each stamped with its own protocol's settings.

        Raises:
            ValueError: as they do, or if two results have one name.
        """
        found = [result for own in self.protocols.values() for result in run_protocol(own, runner, detailed=detailed)]
        stems = [result.stem for result in found]
        if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
            raise ValueError(f"two protocols give the result {twice[0]}: give one of them another name")
        return found
