"""`transface cluster` from a file of embeddings to a table of people."""

from pathlib import Path

import numpy as np
import pytest

from transface.__main__ import main
from transface.inference.folders.embeddings_file import NamedEmbeddings, write_embeddings


@pytest.fixture
def embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.normal(size=(4, 16)), 5, axis=0) + 0.05 * rng.normal(size=(20, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = np.array([f"p{place // 5}/{place}.jpg" for place in range(20)])
    path = tmp_path / "faces.npz"
    write_embeddings(
        path,
        NamedEmbeddings(
            names, vectors.astype(np.float32), np.ones(20, np.float32), np.array([], dtype=np.str_), {"model": "m"}
        ),
    )
    (tmp_path / "people.txt.csv").write_text("name,person\n" + "".join(f"{name},{name[:2]}\n" for name in names))
    return path


def test_people_are_written_and_scored(embeddings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", str(embeddings), "output=out.csv", "people=people.txt.csv"]) == 0
    told = capsys.readouterr().out
    assert "20 faces in 4 clusters, 0 in none" in told
    assert "BCubed: precision 1.0000, recall 1.0000, F 1.0000" in told
    lines = (embeddings.parent / "out.csv").read_text().splitlines()
    assert lines[0] == "name,cluster,probability"
    assert len({line.split(",")[1] for line in lines[1:6]}) == 1


def test_clusters_of_other_faces_are_told_where_they_are_replaced(
    embeddings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, is_told in (((), False), ((), False), (("min_cluster_size=6",), True)):
        assert main(["cluster", str(embeddings), *words]) == 0
        assert ("note: people.csv held something else, written" in capsys.readouterr().out) == is_told


def test_a_list_that_lacks_a_face_is_refused_in_one_line(embeddings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (embeddings.parent / "few.csv").write_text("name,person\np0/0.jpg,a\n")
    assert main(["cluster", str(embeddings), "people=few.csv"]) == 2
    assert "does not say who is on p0/1.jpg (19 such faces)" in capsys.readouterr().err
    assert main(["cluster", "absent.npz"]) == 2


def test_a_threshold_of_same_persons_works_from_the_command_line(
    embeddings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for cosine, count in ((0.6, 4), (0.9, 4), (-1, 1)):
        assert main(["cluster", str(embeddings), f"same_person={cosine}"]) == 0
        assert f"20 faces in {count} clusters" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["output=faces.npz"], "output=faces.npz is what is read here"),
        (["output=people.txt.csv", "people=people.txt.csv"], "is what is read here"),
        (["output=."], "output must end in .csv"),
        (["people=twice.csv"], "line 22: the person of p0/0.jpg is 'x', and 'p0' before"),
        (["people=empty.csv"], "does not say who is on p0/0.jpg (20 such faces)"),
        (["people=columns.csv"], "has 2 columns person"),
        (["people=semicolons.csv"], "has semicolons between its columns"),
        (["people=utf16.csv"], "is no CSV file in UTF-8"),
        (["people=nothing.csv"], "has no rows below its header"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(
    embeddings: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    folder = embeddings.parent
    listed = (folder / "people.txt.csv").read_text()
    (folder / "twice.csv").write_text(f"{listed}p0/0.jpg,x\n")
    (folder / "empty.csv").write_text("name,person\n" + "".join(f"p{n // 5}/{n}.jpg, \n" for n in range(20)))
    (folder / "columns.csv").write_text(listed.replace("name,person", "name,person,person").replace(".jpg", ".jpg,q"))
    (folder / "semicolons.csv").write_text(listed.replace(",", ";"))
    (folder / "utf16.csv").write_text(listed, encoding="utf-16")
    (folder / "nothing.csv").write_text("")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main(["cluster", str(embeddings), *words]) == 2
    assert said in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_blanks_around_a_person_make_no_other_one(embeddings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = (embeddings.parent / "people.txt.csv").read_text()
    (embeddings.parent / "blanks.csv").write_text(listed.replace("1.jpg,p", "1.jpg, p"))
    assert main(["cluster", str(embeddings), "people=blanks.csv"]) == 0
    assert "BCubed: precision 1.0000, recall 1.0000, F 1.0000" in capsys.readouterr().out
