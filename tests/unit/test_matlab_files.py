"""MATLAB's files: what another process reads arrives whole, and what ends that process is an error here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from transface import matlab_files
from transface.matlab_files import load_matlab


def written(folder: Path) -> Path:
    cells = np.empty((1, 3), object)
    cells[0] = [np.array([[1.5, 2.5]]), "größe", {"inner": np.eye(2)}]
    scipy.io.savemat(
        folder / "a.mat",
        {"numbers": np.arange(6, dtype=np.uint8).reshape(2, 3), "net": {"layers": cells, "name": "vgg"}, "one": 7.0},
    )
    return folder / "a.mat"


@pytest.mark.parametrize("squeeze", [False, True])
def test_variables_are_those_scipy_reads(tmp_path: Path, squeeze: bool) -> None:
    path = written(tmp_path)
    read = load_matlab(path, squeeze=squeeze)
    expected = scipy.io.loadmat(path, struct_as_record=False, squeeze_me=squeeze)
    assert set(read) == {"numbers", "net", "one"}
    assert_same(read["numbers"], expected["numbers"])
    assert_same(read["one"], expected["one"])
    ours, theirs = (value if squeeze else value[0, 0] for value in (read["net"], expected["net"]))
    assert_same(ours.name, theirs.name)
    assert ours.layers.shape == theirs.layers.shape
    for mine, other in zip(ours.layers.ravel()[:2], theirs.layers.ravel()[:2], strict=True):
        assert_same(mine, other)
    inner = [value if squeeze else value[0, 0] for value in (ours.layers.ravel()[2], theirs.layers.ravel()[2])]
    assert_same(inner[0].inner, inner[1].inner)


def assert_same(mine: Any, other: Any) -> None:
    assert type(mine) is type(other) or isinstance(mine, np.generic)
    np.testing.assert_array_equal(mine, other)


def test_sparse_matrices_and_text_are_no_arrays_of_objects(tmp_path: Path) -> None:
    sparse = scipy.sparse.csc_matrix(np.eye(3))
    scipy.io.savemat(tmp_path / "b.mat", {"sparse": sparse, "text": np.array(["ab", "cde"])})
    read = load_matlab(tmp_path / "b.mat")
    assert read["sparse"] is None
    assert [word.strip() for word in read["text"]] == ["ab", "cde"]


def test_a_file_that_ends_its_reader_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(matlab_files, "CHILD", child)
    with pytest.raises(ValueError, match=r"a\.mat cannot be read as a \.mat file: it is broken"):
        load_matlab(written(tmp_path))
