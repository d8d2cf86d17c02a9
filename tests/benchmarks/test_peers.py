"""benchmarks/peers: both sides of a row give the same answer, and a function of a checkout takes part."""

from pathlib import Path

import pytest
from benchmarks.peers.__main__ import measure, peer_function
from benchmarks.peers.rows import ROWS


@pytest.mark.parametrize("name", [name for name in ROWS if name not in ("head", "tar_at_far")])
def test_both_sides_of_a_row_agree(name: str) -> None:
    row = ROWS[name]
    arguments = row.make()
    assert row.same(row.ours(*arguments), row.published(*arguments))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["head", "tar_at_far"])
def test_both_sides_of_a_large_row_agree(name: str) -> None:
    test_both_sides_of_a_row_agree(name)


def test_a_function_of_a_checkout_takes_part(tmp_path: Path) -> None:
    file = tmp_path / "theirs.py"
    file.write_text("from helper import first\n\ndef batch(encoded):\n    return first(encoded)\n")
    (tmp_path / "helper.py").write_text("def first(values):\n    return values[0]\n")
    found = measure("decoding", rounds=1, peer=peer_function(f"{file}:batch"))
    assert list(found) == ["ours", "published", "peer"]
    with pytest.raises(ValueError, match="no function 'other'"):
        peer_function(f"{file}:other")
    with pytest.raises(ValueError, match="no file"):
        peer_function("nowhere.py:x")
