"""The protocol `ijbc_identification`: 1:N search of IJB probes in galleries G1 and G2, closed and open set, mean of the
two; and `ijbc_complete`: that and 1:1 verification out of one embedding pass.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transface.data.benchmarks.templates import SubjectList, TemplateSet, read_subject_list, read_template_set
from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.protocol import check_settings
from transface.evaluation.recognition.ijb_verification import IjbVerification, faces_of, pool_mode
from transface.evaluation.recognition.search_results import SearchMeasures, measure_searches
from transface.evaluation.recognition.template_pooling import PooledTemplates, parse_modes, rows_of
from transface.evaluation.results import Measure, Result
from transface.evaluation.several import Several
from transface.metrics.identification import search
from transface.metrics.tar_at_far import IJB_FARS

GALLERIES = (("G1", "S1"), ("G2", "S2"))  # as IJB-C names them, and IJB-B


class IdentificationLists(NamedTuple):
    """What a 1:N protocol is made of: the templates, the two galleries, the probes."""

    protocol: TemplateSet
    galleries: list[SubjectList]
    probes: SubjectList


class IjbIdentification:
    """IJB-B or IJB-C 1:N: rank-k and TPIR at FPIR, each the mean of two galleries.

    Args:
        root: folder that holds meta/ and loose_crop/; meta/ also <name>_1N_gallery_G1.csv, _G2.csv (of IJB-B: _S1.csv,
            _S2.csv) and <name>_1N_probe_mixed.csv.
        name: "ijbc" or "ijbb".
        modes: how faces are pooled, see template_pooling.py; or "all".
        ranks: k of the rank-k rates.
        fpirs: false positive identification rates.
        num_bootstraps: replicates of the intervals, over people; 0: none.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "ijbc",
        modes: Sequence[str] | str = ("N1D1F1",),
        ranks: Sequence[int] = (1, 5, 10),
        fpirs: Sequence[float] = (0.01, 0.1),
        num_bootstraps: int = 1000,
        seed: int = 0,
    ) -> None:
        check_settings(fpirs=fpirs, ranks=ranks, num_bootstraps=num_bootstraps)
        self.root, self.name, self.modes = Path(root), name, parse_modes(modes)
        self.ranks, self.fpirs, self.num_bootstraps, self.seed = tuple(ranks), tuple(fpirs), num_bootstraps, seed
        self.names = [name]
        self._lists: IdentificationLists | None = None

    def evaluate(self, embedder: Embedder, *, detailed: bool = True) -> list[Result]:
        """Return one Result a mode.

        Raises:
            FileNotFoundError: if a list or an image is missing.
            ValueError: if a list is malformed, names a template without images, or the probes do not fit the galleries.
        """
        protocol, galleries, probes = self._read()
        embeddings = embedder.embed(faces_of(protocol))
        results = []
        for mode in self.modes:
            templates = pool_mode(embeddings, protocol, mode)
            found = [self._search(templates, probes, gallery, detailed=detailed) for gallery in galleries]
            results.append(
                Result(
                    kind="search",
                    protocol=f"{self.name}_identification",
                    name=f"{self.name}_identification",
                    mode=str(mode),
                    measures=tuple(mean_measure(pair) for pair in zip(*(m.measures for m in found), strict=True)),
                    counts={
                        "probes": len(probes.template_ids),
                        "galleries": len(galleries),
                        "images": len(protocol.images),
                    },
                    warnings=tuple(dict.fromkeys(warning for m in found for warning in m.warnings)),
                )
            )
        return results

    def prepare(self) -> None:
        """Read the lists and look for the images."""
        self._read()

    def _read(self) -> IdentificationLists:
        if self._lists is None:
            protocol = read_template_set(self.root, self.name)
            protocol.require_images()
            self._lists = self._read_lists(protocol)
        return self._lists

    def _read_lists(self, protocol: TemplateSet) -> IdentificationLists:
        meta = self.root / "meta" if (self.root / "meta").is_dir() else self.root
        paths = [meta / f"{self.name}_1N_probe_mixed.csv"]
        for names in GALLERIES:
            candidates = [meta / f"{self.name}_1N_gallery_{name}.csv" for name in names]
            paths.append(next((path for path in candidates if path.is_file()), candidates[0]))
        lists = [read_subject_list(path) for path in paths]
        for path, listed in zip(paths, lists, strict=True):
            unknown = listed.template_ids[~np.isin(listed.template_ids, protocol.template_ids)]
            if len(unknown):
                raise ValueError(f"{path}: {len(unknown)} templates have no images, the first is template {unknown[0]}")
        for path, gallery in zip(paths[1:], lists[1:], strict=True):
            self._require_searches(lists[0], gallery, path)
        return IdentificationLists(protocol, lists[1:], lists[0])

    def _require_searches(self, probes: SubjectList, gallery: SubjectList, path: Path) -> None:
        mated = np.isin(probes.subject_ids, gallery.subject_ids)
        if not mated.any() or (self.fpirs and mated.all()):
            needed = (
                "rank-k needs some"
                if not mated.any()
                else "open-set search needs some that have none, or protocol.fpirs=[]"
            )
            raise ValueError(f"{int(mated.sum())} of {len(mated)} probes have a mate in {path}: {needed}")

    def _search(
        self, templates: PooledTemplates, probes: SubjectList, gallery: SubjectList, *, detailed: bool
    ) -> SearchMeasures:
        sides = [
            templates.features[rows_of(side.template_ids, templates.ids)].astype(np.float32)
            for side in (probes, gallery)
        ]
        searches = search(sides[0], probes.subject_ids, sides[1], gallery.subject_ids)
        bootstraps = self.num_bootstraps if detailed else 0
        return measure_searches(
            searches, probes.subject_ids, ranks=self.ranks, fpirs=self.fpirs, num_bootstraps=bootstraps, seed=self.seed
        )


class IjbComplete(Several):
    """All of IJB-B or IJB-C, 1:1 and 1:N.

    Args:
        root: folder that holds meta/, the 1:N lists in it, and loose_crop/.
        name: "ijbc" or "ijbb".
        fars: of the 1:1 protocol.
        ranks, fpirs: of the 1:N protocol.
        settings: of both: modes, num_bootstraps, seed.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "ijbc",
        fars: Sequence[float] = IJB_FARS,
        ranks: Sequence[int] = (1, 5, 10),
        fpirs: Sequence[float] = (0.01, 0.1),
        **settings: Any,
    ) -> None:
        verification = IjbVerification(root, name=name, fars=fars, **settings)
        identification = IjbIdentification(root, name=name, ranks=ranks, fpirs=fpirs, **settings)
        super().__init__({"verification": verification, "identification": identification})

    def evaluate(self, runner: Embedder, *, detailed: bool = True) -> list[Result]:
        """Return the Results of both protocols, one a mode each; raises as either of them, before anything is
        embedded.
        """
        self.prepare()
        with runner.remembering():
            return super().evaluate(runner, detailed=detailed)


def mean_measure(measures: Sequence[Measure]) -> Measure:
    """Return the mean of one measure over galleries of different people, whose errors are independent."""
    first, value = measures[0], float(np.mean([m.value for m in measures]))
    halves = [(m.value - m.low, m.high - m.value) for m in measures if m.low is not None and m.high is not None]
    warning = next((m.warning for m in measures if m.warning), "")
    if len(halves) < len(measures):
        return Measure(first.name, value, warning=warning)
    down, up = np.sqrt(np.square(halves).sum(axis=0)) / len(measures)
    return Measure(first.name, value, value - float(down), value + float(up), warning=warning)
