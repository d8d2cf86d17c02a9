"""Lists of pairs as LFW and MFR2 have them, in the forms people write them in."""

from pathlib import Path

import pytest

from transface.data.benchmarks.pairs_txt import read_pairs_txt

FILES = ("Ann/Ann_0001.png", "Ann/Ann_0002.PNG", "Bob/Bob_0001.jpg", "Bob/Bob_0002.jpeg")
SPACED = ("A B/A B_0001.png", "A B/A B_0002.png", "C/C_0001.jpg", "P 1/P 1_0001.png", "P 1/P 1_0002.png")


def folder(root: Path, files: tuple[str, ...], pairs: str | bytes) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    (root / "pairs.txt").write_bytes(pairs.encode() if isinstance(pairs, str) else pairs)
    return root


def read(root: Path) -> tuple[list[list[str]], list[bool]]:
    sides, is_same = read_pairs_txt(root / "pairs.txt", root)
    return sides, is_same.tolist()


@pytest.mark.parametrize(
    "pairs",
    [
        "Ann 1 2\nAnn 1 Bob 2\n",
        "Ann\t1\t2\nAnn\t1\tBob\t2\n",
        "Ann,1,2\nAnn,1,Bob,2\n",
        "Ann, 1, 2\nAnn, 1, Bob, 2\n",
        "Ann,1,2,\nAnn,1,Bob,2\n",
        "\ufeffAnn 1 2\r\n\r\nAnn 1 Bob 2\r\n",
        "10\t300\nAnn 1 2\nAnn 1 Bob 2\n",
        "name,imagenum1,matchname,imagenum2\nAnn,1,2\nAnn,1,Bob,2\n",
        "# real masks\nAnn 1 2\nAnn 1 Bob 2\n",
        "Ann 0001 0002\nAnn 0001 Bob 0002\n",
        "Ann 1 Ann 2\nAnn 1 Bob 2\n",  # of one person, though it is written as of two
    ],
)
def test_blanks_tabs_commas_and_heads_are_read_alike(pairs: str, tmp_path: Path) -> None:
    wanted = [["Ann/Ann_0001.png", "Ann/Ann_0002.PNG"], ["Ann/Ann_0001.png", "Bob/Bob_0002.jpeg"]]
    assert read(folder(tmp_path, FILES, pairs)) == (wanted, [True, False])


@pytest.mark.parametrize("mark", [" ", "\t", ","])
def test_names_may_hold_blanks_and_numbers(mark: str, tmp_path: Path) -> None:
    lines = [("A B", "1", "2"), ("A B", "2", "C", "1"), ("C", "1", "P 1", "2"), ("P 1", "1", "2")]
    sides, is_same = read(folder(tmp_path, SPACED, "\n".join(map(mark.join, lines))))
    assert is_same == [True, False, False, True]
    assert sides[1] == ["A B/A B_0002.png", "C/C_0001.jpg"]
    assert sides[2] == ["C/C_0001.jpg", "P 1/P 1_0002.png"]
    assert sides[3] == ["P 1/P 1_0001.png", "P 1/P 1_0002.png"]


def test_a_word_behind_the_number_is_part_of_it_and_the_plain_name_comes_first(tmp_path: Path) -> None:
    files = ("Ann/Ann_0001.png", "Ann/Ann_0001_mask.png", "Ann/Ann_0002_surgical.png", "Bob/Bob_0010.png")
    sides, _ = read(folder(tmp_path, files, "Ann 1 2\nAnn 2 Bob 10"))
    assert sides == [
        ["Ann/Ann_0001.png", "Ann/Ann_0002_surgical.png"],
        ["Ann/Ann_0002_surgical.png", "Bob/Bob_0010.png"],
    ]


def test_files_without_numbers_are_counted_in_their_order(tmp_path: Path) -> None:
    sides, _ = read(
        folder(tmp_path, ("Ann/x.png", "Ann/b.jpg", "Bob/masked.png", "Bob/notes.txt"), "Ann 1 2\nAnn 1 Bob 1")
    )
    assert sides == [["Ann/b.jpg", "Ann/x.png"], ["Ann/b.jpg", "Bob/masked.png"]]


@pytest.mark.parametrize(
    ("files", "pairs", "said"),
    [
        (("Ann/Ann_0001.png", "Ann/Ann_0003.png", "Bob/Bob_0001.png"), "Ann 1 3\nAnn 2 Bob 1",
         "line 2 names image 2 of Ann, which is none of the 2 in"),
        (FILES, "Ann 1 2\nAnn 1 Zed 2", "line 2 names image 2 of Zed, and there is no folder"),
        (FILES, "Ann 0 2", "line 1 names image 0 of Ann, which is none of the 2"),
        (FILES, "Ann one 2", "line 1 must be 'name i j' or 'name1 i name2 j', got 'Ann one 2'"),
        (FILES, "Ann 1 2\nAnn 1", "line 2 must be 'name i j'"),
        ((*FILES, "Ann/Ann_0001.jpg"), "Ann 1 2", "names image 1 of Ann, and .* has Ann_0001.jpg and Ann_0001.png"),
        (FILES, "J\u00f6rg 1 2".encode("latin-1"), "pairs.txt is no text in UTF-8: invalid start byte at byte 1"),
        (FILES, "Ann 1 2\n../Ann 1 2", "names '../Ann', which lies outside"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_named(
    files: tuple[str, ...], pairs: str | bytes, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        read(folder(tmp_path / "set", files, pairs))


def test_a_list_beside_other_people_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"line 1: no folder .*Zed: people's folders are looked for in"):
        read(folder(tmp_path, FILES, "Zed 1 2"))


@pytest.mark.parametrize("stem", ["Ann_{}", "Ann_{:03d}", "{}", "{:02d}"])
def test_image_two_is_the_second_and_not_the_tenth(tmp_path: Path, stem: str) -> None:
    files = (*(f"Ann/{stem.format(k)}.jpg" for k in range(1, 13)), "Bob/Bob_0001.jpg")
    sides, _ = read(folder(tmp_path, files, "Ann 2 11\nAnn 12 Bob 1\n"))
    assert sides == [
        [f"Ann/{stem.format(2)}.jpg", f"Ann/{stem.format(11)}.jpg"],
        [f"Ann/{stem.format(12)}.jpg", "Bob/Bob_0001.jpg"],
    ]


def test_blanks_of_a_folder_are_underscores_in_its_files(tmp_path: Path) -> None:
    files = ("A B/A_B_0002.jpg", "A B/A_B_0003.jpg")
    sides, _ = read(folder(tmp_path, files, "A B 2 3\n"))
    assert sides == [["A B/A_B_0002.jpg", "A B/A_B_0003.jpg"]]


def test_pairs_of_an_image_with_itself_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(folder(tmp_path, FILES, "Ann 1 1\nAnn 1 Bob 1\nBob 1 Ann 1\n"))
    assert "1 of 3 pairs are of an image with itself, Ann/Ann_0001.png the first" in caplog.text
    assert "1 of 3 pairs come again" in caplog.text
