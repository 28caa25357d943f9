"""``populace reshard`` says in a line what it did, or why the store has the shards that it had."""

from pathlib import Path

import pytest

from populace.storage.store import Store
from tests.actors.backup_command import populace, populace_json
from tests.runtime.cli.test_backup import said
from tests.storage.resharded import NAMES, check, fill, rows_of


@pytest.fixture
def data(tmp_path: Path) -> Path:
    store = Store.create_or_open(tmp_path / "data", 2)
    fill(store)
    return store.path


def test_a_resharding_says_what_it_moved_and_shows_its_steps(data: Path) -> None:
    before = rows_of(data)

    done = populace("reshard", 5, "--data", data)
    again = populace("reshard", 5, "--data", data)

    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    told = (
        f"{data} has 5 shards now, 2 before: moved {len(NAMES)} models and 4 API keys ({len(before)} rows)."
    )
    assert said(told) in said(done.stdout)
    assert "Moving the rows" in done.stderr
    assert said(f"{data} has 5 shards already.") in said(again.stdout)
    assert check(data, before).shards == 5


def test_a_script_reads_the_numbers(data: Path) -> None:
    moved = populace_json("reshard", 3, "--data", data)

    assert (moved["former"], moved["shards"], moved["models"], moved["data"]) == (2, 3, len(NAMES), str(data))
    assert populace_json("reshard", 3, "--data", data) == {"former": 3, "shards": 3, "data": str(data)}


def test_a_store_that_is_served_or_none_is_refused_in_a_line(data: Path, tmp_path: Path) -> None:
    with Store.open(data).lock("populace serve at http://127.0.0.1:8000"):
        served = populace("reshard", 3, "--data", data)
    absent = populace("reshard", 3, "--data", tmp_path / "absent")

    assert (served.returncode, absent.returncode) == (1, 1)
    assert said(f"{data} is in use by populace serve at http://127.0.0.1:8000") in said(served.stderr)
    assert "store.json cannot be read" in " ".join(absent.stderr.split())
    assert not (tmp_path / "absent").exists()
    assert Store.open(data).shards == 2


@pytest.mark.parametrize("shards", ["0", "4097", "many"])
def test_a_number_that_no_store_has_is_refused(data: Path, shards: str) -> None:
    done = populace("reshard", shards, "--data", data)

    assert done.returncode == 2
    assert "SHARDS" in done.stderr
    assert Store.open(data).shards == 2
