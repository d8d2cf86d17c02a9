"""The protocol `ijbc_complete`: 1:1 verification in any modes and 1:N identification of an IJB set, out of one
embedding pass.
"""

from collections.abc import Sequence
from pathlib import Path

from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.recognition.ijb_identification import IjbIdentification
from transface.evaluation.recognition.ijb_verification import IjbVerification
from transface.evaluation.results import Result
from transface.metrics.tar_at_far import IJB_FARS


class IjbComplete:
    """All of IJB-B or IJB-C.

    Args:
        root: folder that holds meta/, the 1:N lists in it, and loose_crop/.
        name: "ijbc" or "ijbb".
        modes: e.g. ["N1D1F1", "N0D1F1"], or "all" for the eight; of both protocols.
        fars: of the 1:1 protocol.
        ranks, fpirs: of the 1:N protocol.
        num_bootstraps: replicates of the intervals, over people; 0: none.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "ijbc",
        modes: Sequence[str] | str = ("N1D1F1",),
        fars: Sequence[float] = IJB_FARS,
        ranks: Sequence[int] = (1, 5, 10),
        fpirs: Sequence[float] = (0.01, 0.1),
        num_bootstraps: int = 1000,
        seed: int = 0,
    ) -> None:
        self.verification = IjbVerification(
            root, name=name, modes=modes, fars=fars, num_bootstraps=num_bootstraps, seed=seed
        )
        self.identification = IjbIdentification(
            root, name=name, modes=modes, ranks=ranks, fpirs=fpirs, num_bootstraps=num_bootstraps, seed=seed
        )
        self.names = [name]

    def prepare(self) -> None:
        """Read the lists of both protocols and look for the images."""
        self.verification.prepare()
        self.identification.prepare()

    def evaluate(self, embedder: Embedder, *, detailed: bool = True) -> list[Result]:
        """Return the Results of both protocols, one a mode each; raises as either of them, before anything is
        embedded.
        """
        self.prepare()
        with embedder.remembering():
            return [
                *self.verification.evaluate(embedder, detailed=detailed),
                *self.identification.evaluate(embedder, detailed=detailed),
            ]
