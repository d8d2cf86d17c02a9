"""Own images give the same numbers whether they come as a folder of people, a CSV of templates, or a CSV of pairs."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision.io import encode_png

from transface.evaluation.decisions.error_discard import ErrorDiscard
from transface.evaluation.decisions.people_groups import PeopleGroups
from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.recognition.all_pairs import balanced_folds, list_pairs
from transface.evaluation.recognition.own_lists import (
    POINT_COLUMNS,
    ListedTemplates,
    labels_by_name,
    list_csv,
    read_table,
)
from transface.evaluation.recognition.own_protocols import PairsCsv, PeopleFolder
from transface.evaluation.recognition.pair_sets import PairSets
from transface.images.alignment import template_points
from transface.images.files import list_images

PEOPLE, IMAGES = 8, 4


@pytest.fixture
def folder(tmp_path: Path, faces: Any) -> Path:
    root = tmp_path / "people"
    for person, images in enumerate(faces(PEOPLE, IMAGES)):
        (root / f"p{person}").mkdir(parents=True)
        for number, image in enumerate(images):
            (root / f"p{person}" / f"{number}.png").write_bytes(encode_png(image).numpy().tobytes())
    return root


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def images_of(folder: Path) -> list[dict[str, Any]]:
    return [{"image": f"{p.parent.name}/{p.name}", "subject": p.parent.name} for p in sorted(folder.rglob("*.png"))]


def test_folder_and_template_csv_agree(folder: Path, backbone: Any, tmp_path: Path) -> None:
    embedder = Embedder(backbone, progress=False)
    (whole,) = PeopleFolder(folder, fars=[0.01], num_bootstraps=30).evaluate(embedder)
    table = write_csv(tmp_path / "images.csv", images_of(folder))
    (listed,) = PairsCsv(table, root=folder, fars=[0.01], num_bootstraps=30).evaluate(embedder)
    np.testing.assert_allclose(listed.arrays["scores"], whole.arrays["scores"], atol=1e-6)
    assert [m.name for m in listed.measures] == [m.name for m in whole.measures]
    assert [m.value for m in listed.measures] == pytest.approx([m.value for m in whole.measures])
    assert whole.counts["genuine"] == PEOPLE * IMAGES * (IMAGES - 1) // 2
    assert whole.counts["pairs"] == 32 * 31 // 2
    assert whole.counts["subjects"] == PEOPLE
    assert whole.name == "people"
    assert whole.measure("accuracy").value > 0.7


def test_pair_csv_agrees_with_a_pair_set(pair_file: Any, backbone: Any, tmp_path: Path) -> None:
    embedder = Embedder(backbone, progress=False)
    path = pair_file()
    (as_set,) = PairSets([path], fars=[0.1], num_bootstraps=30).evaluate(embedder)
    from transface.data.benchmarks.pairs import read_pair_set

    pair_set = read_pair_set(path)
    for number, image in enumerate(pair_set.images):
        (tmp_path / f"{number:03d}.jpg").write_bytes(bytes(image))
    rows = [
        {"image1": f"{2 * i:03d}.jpg", "image2": f"{2 * i + 1:03d}.jpg", "is_same": int(same)}
        for i, same in enumerate(pair_set.is_same)
    ]
    (as_csv,) = PairsCsv(write_csv(tmp_path / "pairs.csv", rows), fars=[0.1], num_bootstraps=30).evaluate(embedder)
    assert as_csv.measures == as_set.measures
    np.testing.assert_array_equal(as_csv.arrays["scores"], as_set.arrays["scores"])
    people = [{**row, "subject1": i, "subject2": i if row["is_same"] else i + 1000} for i, row in enumerate(rows)]
    (with_people,) = PairsCsv(write_csv(tmp_path / "people.csv", people), fars=[0.1], num_bootstraps=30).evaluate(
        embedder
    )
    assert with_people.measure("accuracy").value == as_csv.measure("accuracy").value
    assert "subjects" in with_people.arrays
    people[3]["subject2"] = people[3]["subject1"]
    with pytest.raises(ValueError, match="line 5: is_same and the two subjects contradict"):
        PairsCsv(write_csv(tmp_path / "people.csv", people)).evaluate(embedder)


def test_templates_are_pooled_and_points_align(folder: Path, backbone: Any, tmp_path: Path) -> None:
    embedder = Embedder(backbone, progress=False)
    rows = [{**row, "template": f"{row['subject']}-{i % 2}"} for i, row in enumerate(images_of(folder))]
    (pooled,) = PairsCsv(write_csv(tmp_path / "t.csv", rows), root=folder, num_bootstraps=0).evaluate(embedder)
    assert pooled.counts["templates"] == 2 * PEOPLE
    assert pooled.measures[0].low is None, "no bootstrap, no interval"
    points = [38.2946, 51.6963, 73.5318, 51.5014, 56.0252, 71.7366, 41.5493, 92.3655, 70.7299, 92.2041]
    names = [f"{axis}{number}" for number in range(1, 6) for axis in "xy"]
    aligned = [{**row, **dict(zip(names, points, strict=True))} for row in rows]
    (same,) = PairsCsv(write_csv(tmp_path / "a.csv", aligned), root=folder, num_bootstraps=0).evaluate(embedder)
    np.testing.assert_allclose(same.arrays["scores"], pooled.arrays["scores"], atol=1e-3)
    rows[0]["subject"] = "p7"
    with pytest.raises(ValueError, match="images of two subjects"):
        PairsCsv(write_csv(tmp_path / "t.csv", rows), root=folder).evaluate(embedder)


def test_impostors_are_drawn_when_there_are_too_many() -> None:
    people = np.repeat(np.arange(30), 5)
    everything = list_pairs(people, max_impostors=10**9, seed=0)
    few = list_pairs(people, max_impostors=500, seed=0)
    assert everything.is_same.sum() == few.is_same.sum() == 30 * 10
    assert (~few.is_same).sum() == 500
    assert len(np.unique(few.positions, axis=0)) == len(few.positions)
    assert (people[few.positions[:, 0]] == people[few.positions[:, 1]]).tolist() == few.is_same.tolist()
    np.testing.assert_array_equal(few.positions, list_pairs(people, max_impostors=500, seed=0).positions)
    chosen = balanced_folds(few.is_same, 400, seed=0)
    assert len(chosen) == len(set(chosen.tolist())) == 400
    assert few.is_same[chosen].reshape(10, 40).sum(axis=1).tolist() == [20] * 10
    for bad in (np.zeros(4), np.arange(4)):
        with pytest.raises(ValueError, match="both kinds are needed"):
            list_pairs(bad, max_impostors=10, seed=0)


def test_small_images_are_resized_or_refused(folder: Path, backbone: Any, faces: Any) -> None:
    small = faces(1, 1)[0, 0][:, :50, :40].contiguous()
    (folder / "p0" / "0.png").write_bytes(encode_png(small).numpy().tobytes())
    embedder = Embedder(backbone, progress=False)
    with pytest.raises(ValueError, match=r"must be 112x112, got 50x40; protocol\.fit=letterbox keeps"):
        PeopleFolder(folder).evaluate(embedder)
    PeopleFolder(folder, fit="letterbox", num_bootstraps=0).evaluate(embedder)
    with pytest.raises(ValueError, match="fit must be one of refuse, resize, letterbox"):
        PeopleFolder(folder, fit="crop")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image1,image2\na,b\n", "must have the columns"),
        ("image1,image2,is_same\n", "no rows below its header"),
        ("image1,image2,is_same\na.png,b.png\n", "line 2: as many values"),
        ("image1,image2,is_same\na.png,b.png,maybe\n", "line 2: is_same must be 0 or 1, got 'maybe'"),
        ("image1,image2,is_same\na.png,b.png,1\nb.png,c.png,1\n", "one class only, 2 genuine of 2"),
        ("image,subject\na.png,x\nb.png,y\n", "0 genuine and 1 impostor pairs"),
        ("image,subject\na.png,x\nb.png,\nc.png,\n", r"line 3: the subject is missing \(2 such lines\)"),
        ("image,subject,template\na.png,x,1\nb.png,x, \n", "line 3: the template is missing"),
        ("image,subject,subject\na.png,x,y\n", "has 2 columns subject"),
        ("image;subject\na.png;x\n", "has semicolons between its columns"),
        ("image,subject\na.png,x\na.png,y\n", "line 3: a.png is listed with images of two subjects, x and y"),
        ("image,subject,x1,y1\na.png,x,1,2\nb.png,x,1,2\nc.png,y,1,2\n", "has points, and no column x2"),
    ],
)
def test_a_broken_csv_is_refused(text: str, message: str, backbone: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        PairsCsv(tmp_path / "x.csv").evaluate(Embedder(backbone, progress=False))


def test_what_is_missing_is_named(folder: Path, backbone: Any, tmp_path: Path) -> None:
    embedder = Embedder(backbone, progress=False)
    with pytest.raises(FileNotFoundError, match="no file"):
        PairsCsv(tmp_path / "absent.csv").evaluate(embedder)
    rows = [*images_of(folder), {"image": "p9/0.png", "subject": "p9"}]
    with pytest.raises(FileNotFoundError, match=r"1 of 33 images are missing, the first is .*p9/0\.png"):
        PairsCsv(write_csv(tmp_path / "i.csv", rows), root=folder).evaluate(embedder)
    for person in range(1, PEOPLE):
        shutil.rmtree(folder / f"p{person}")
    with pytest.raises(ValueError, match="4 faces of 1 people make 6 genuine and 0 impostor pairs"):
        PeopleFolder(folder).evaluate(embedder)
    assert backbone.num_images == 0, "nothing is embedded before all this is known"
    (folder / "loose.png").write_bytes((folder / "p0" / "0.png").read_bytes())
    with pytest.raises(ValueError, match="belongs to nobody"):
        PeopleFolder(folder).evaluate(embedder)


def test_flags_of_a_column_of_floats_are_read(folder: Path, backbone: Any, tmp_path: Path) -> None:
    names = [row["image"] for row in images_of(folder)]
    rows = [{"image1": names[0], "image2": name, "is_same": float(name.startswith("p0/"))} for name in names]
    (result,) = PairsCsv(write_csv(tmp_path / "pairs.csv", rows), root=folder, num_bootstraps=0).evaluate(
        Embedder(backbone, num_workers=0, progress=False)
    )
    assert result.counts["genuine"] == IMAGES


def test_a_table_with_numbered_rows_and_a_mark_of_byte_order_is_read(folder: Path, tmp_path: Path) -> None:
    lines = [f"{number},{row['image']},{row['subject']}" for number, row in enumerate(images_of(folder))]
    (tmp_path / "images.csv").write_text("\n".join([",image,subject", *lines]), encoding="utf-8-sig")
    table = read_table(tmp_path / "images.csv")
    assert table.columns == {"image", "subject"}
    assert table.rows == images_of(folder)
    (tmp_path / "images.csv").write_text("image,subject\na.png,p1,more\n")
    with pytest.raises(ValueError, match="line 2: as many values"):
        read_table(tmp_path / "images.csv")


def test_the_folder_one_stands_in_has_a_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert PeopleFolder(".").names == ["people"]


def test_blanks_around_labels_are_no_part_of_them(folder: Path, tmp_path: Path) -> None:
    rows = images_of(folder)
    plain = list_csv(write_csv(tmp_path / "a.csv", rows), root=folder, name="a", fit="refuse")
    blank = [
        {**row, "subject": f" {row['subject']}" if place % 2 else row["subject"]} for place, row in enumerate(rows)
    ]
    found = list_csv(write_csv(tmp_path / "b.csv", blank), root=folder, name="b", fit="refuse")
    assert isinstance(found, ListedTemplates)
    assert isinstance(plain, ListedTemplates)
    assert found.people.tolist() == plain.people.tolist()


def test_points_of_a_list_and_a_detector_are_not_both_taken(folder: Path, tmp_path: Path) -> None:
    points = dict(zip(POINT_COLUMNS, template_points().flatten().tolist(), strict=True))
    file = write_csv(tmp_path / "a.csv", [{**row, **points} for row in images_of(folder)])
    PairsCsv(file, root=folder).prepare()
    with pytest.raises(ValueError, match=r"has points, x1 \.\. y5, and protocol\.detector= finds others"):
        PairsCsv(file, root=folder, detector="mtcnn").prepare()


@pytest.mark.parametrize("wrong", ["nan", "inf", "", "left"])
def test_a_point_that_is_no_number_is_refused_by_its_line(folder: Path, tmp_path: Path, wrong: str) -> None:
    points = dict(zip(POINT_COLUMNS, template_points().flatten().tolist(), strict=True))
    rows: list[dict[str, Any]] = [{**row, **points} for row in images_of(folder)]
    rows[3]["y2"] = wrong
    with pytest.raises(ValueError, match=r"a\.csv, line 5: points must be (finite )?numbers"):
        PairsCsv(write_csv(tmp_path / "a.csv", rows), root=folder).prepare()


@pytest.mark.parametrize("how", ["copy", "link"])
def test_one_person_under_two_names_is_told(folder: Path, backbone: Any, tmp_path: Path, how: str) -> None:
    embedder = Embedder(backbone, progress=False)
    settings: Any = {"num_bootstraps": 0}
    clean = PeopleFolder(folder, **settings).evaluate(embedder)[0].warnings
    assert not any("one picture" in text for text in clean)
    shutil.copytree(folder / "p0", folder / "p9") if how == "copy" else (folder / "p9").symlink_to("p0")
    (folder / "p1" / "again.png").write_bytes((folder / "p1" / "0.png").read_bytes())
    names = [str(path.relative_to(folder)) for path in list_images(folder).paths]
    rows = [{"image": name, "subject": name[:2], "group": int(name[1]) % 2} for name in names]
    table = write_csv(tmp_path / "images.csv", rows)
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    listed = [{"image1": a, "image2": b, "is_same": int(a[:2] == b[:2])} for a, b in pairs]
    for protocol in (
        PeopleFolder(folder, **settings),
        PairsCsv(table, root=folder, **settings),
        PairsCsv(write_csv(tmp_path / "pairs.csv", listed), root=folder, **settings),
        PeopleGroups(folder, table=table, by="group", num_permutations=0, **settings),
        ErrorDiscard(root=folder, quality="norm", **settings),
    ):
        (result,) = protocol.evaluate(embedder)
        (impostors, genuine) = [text for text in result.warnings if "one picture" in text]
        assert impostors.startswith(f"{IMAGES} of ")
        assert "impostor pairs are of one picture (cosine 1), p0/0.png and p9/0.png the first" in impostors
        assert genuine.startswith("1 of ")
        assert "p1/0.png and p1/again.png" in genuine


def test_labels_that_are_spelt_in_two_ways_are_told(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "p0").rename(folder / "Jos\u00e9")
    (folder / "p1").rename(folder / "Jose\u0301")
    PeopleFolder(folder).prepare()
    assert f"{folder}: 'Jose\u0301' and 'Jos\u00e9' are two people" in caplog.text
    rows = [{"name": str(place), "sex": sex} for place, sex in enumerate(["m", "F", "f", "1", "1.0", "10"])]
    assert len(labels_by_name(write_csv(tmp_path / "t.csv", rows), "name", "sex")) == 6
    assert "'F' and 'f' are two values of sex" in caplog.text
    assert "'1' and '1.0' are two values of sex" in caplog.text
    assert "10" not in caplog.text.split("t.csv")[-1]


def test_people_of_names_with_accents_are_found_however_these_are_written(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("name,person\nJos\u00e9.jpg,a\nZoe\u0308.jpg,b\n")
    found = labels_by_name(tmp_path / "p.csv", "name", "person")
    assert [found[name] for name in ("Jose\u0301.jpg", "Jos\u00e9.jpg", "Zo\u00eb.jpg", "Zoe\u0308.jpg")] == [*"aabb"]
    (tmp_path / "p.csv").write_text("name,person\nJos\u00e9.jpg,a\nJose\u0301.jpg,b\n")
    with pytest.raises(ValueError, match=r"line 3: the person of .* is 'b', and 'a' before"):
        labels_by_name(tmp_path / "p.csv", "name", "person")


def test_fewer_pairs_than_folds_have_the_figures_that_are_defined(folder: Path, backbone: Any, tmp_path: Path) -> None:
    rows = [
        {"image1": "p0/0.png", "image2": f"p{person}/1.png", "is_same": int(person == 0)} for person in range(PEOPLE)
    ]
    file = write_csv(tmp_path / "few.csv", rows)
    (found,) = PairsCsv(file, root=folder, fars=(0.5,), num_bootstraps=20).evaluate(Embedder(backbone, progress=False))
    assert {measure.name for measure in found.measures} == {"tar@far=5e-01/nearest", "tar@far=5e-01/strict"}
    assert found.warnings[0] == "accuracy, AUC and EER are left out: 10 folds need 10 pairs, there are 8"
    people = tmp_path / "two"
    for name in ("p0", "p1"):
        shutil.copytree(folder / name, people / name)
    for image in (people / "p1").glob("[123].png"):
        image.unlink()
    (found,) = PeopleFolder(people, num_bootstraps=20).evaluate(Embedder(backbone, progress=False))
    assert found.warnings[0] == "accuracy, AUC and EER are left out: 10 folds need 20 pairs, there are 8"


def test_a_pair_with_two_answers_is_refused(folder: Path, tmp_path: Path) -> None:
    rows = [
        {"image1": "p0/0.png", "image2": "p0/1.png", "is_same": 1},
        {"image1": "p0/0.png", "image2": "p1/1.png", "is_same": 0},
        {"image1": "p0/1.png", "image2": "p0/0.png", "is_same": 0},
    ]
    file = write_csv(tmp_path / "pairs.csv", rows)
    with pytest.raises(ValueError, match=r"line 4: p0/1.png and p0/0.png are not one person here, and line 2 says oth"):
        PairsCsv(file, root=folder).prepare()


def test_points_outside_the_pictures_are_told_before_anything_is_embedded(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    columns = [f"{axis}{number}" for number in range(1, 6) for axis in "xy"]

    def table(num_outside: int) -> Path:
        rows = []
        for place, row in enumerate(images_of(folder)):
            points = template_points() + (0 if place >= num_outside else 500)
            rows.append({**row, **dict(zip(columns, points.flatten().tolist(), strict=True))})
        return write_csv(tmp_path / f"{num_outside}.csv", rows)

    PairsCsv(table(0), root=folder).prepare()
    assert not caplog.text
    PairsCsv(table(1), root=folder).prepare()
    assert "the points of 1 of 32 faces look wrong" in caplog.text
    assert "p0/0.png: 100% of the face lies outside the picture" in caplog.text
    with pytest.raises(ValueError, match=r"the points of 32 of 32 faces cannot be right; .*outside the picture"):
        PairsCsv(table(32), root=folder).prepare()


def test_pictures_of_kinds_that_are_not_read_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "p0" / "moving.gif").write_bytes(b"GIF89a")
    PeopleFolder(folder).prepare()
    assert "left out, because their kind is not read (GIF, HEIC, ...): 1, p0/moving.gif the first" in caplog.text
