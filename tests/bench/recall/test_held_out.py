"""The held-out sets are read whole, drawn without repetition, and missed by name."""

from collections import Counter
from pathlib import Path

import pytest

from scripts.bench.recall.held_out import (
    CHECKOUT,
    HeldOut,
    HeldOutInvalid,
    find_held_out,
    read_held_out,
    shuffled,
    tellings_of_seed,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def held_out() -> HeldOut:
    return read_held_out(ROOT / CHECKOUT)


def test_the_sets_of_the_checkout_can_be_read(held_out: HeldOut) -> None:
    assert [len(lines) for lines in held_out] == [120, 200, 221, 80, 40]
    assert any(question.wrong for one in held_out.tellings for question in one.questions)


def test_a_checkout_is_found_from_inside_and_a_named_directory_anywhere(tmp_path: Path) -> None:
    assert find_held_out(None, ROOT / "docs") == ROOT / CHECKOUT
    assert find_held_out(tmp_path, ROOT) == tmp_path


def test_outside_of_a_checkout_the_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeldOutInvalid, match="--held-out"):
        find_held_out(None, tmp_path)
    with pytest.raises(HeldOutInvalid, match="nowhere"):
        find_held_out(tmp_path / "nowhere", tmp_path)


def test_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeldOutInvalid, match=r"general\.jsonl"):
        read_held_out(tmp_path)

    (tmp_path / "general.jsonl").write_text('{"ask": "Why?"}\n{"say": "Hm."}\n')

    with pytest.raises(HeldOutInvalid, match=r"general\.jsonl, line 2, ask"):
        read_held_out(tmp_path)


def test_seeds_draw_other_tellings_of_all_kinds_until_none_is_left(held_out: HeldOut) -> None:
    parts = [tellings_of_seed(held_out.tellings, 70, seed) for seed in range(5)]

    assert [len(part) for part in parts] == [70, 70, 70, 11, 0]
    assert len({one.tell for part in parts for one in part}) == 221
    assert all(8 <= count <= 13 for count in Counter(one.kind for one in parts[0]).values())


def test_a_sample_depends_on_its_name_alone() -> None:
    assert shuffled(range(50), "a") == shuffled(range(50), "a") != shuffled(range(50), "b")
