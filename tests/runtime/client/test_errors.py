"""An error that Populace raises on purpose says what is wrong, and not where in Populace that was found."""

import asyncio
import traceback
from pathlib import Path

import pytest

from populace.actors.errors import ClusterNotFound, InvalidRequest
from populace.client.connecting import connect, connect_async
from populace.client.progress import TrainingProgress, shown, training_phase
from tests.actors.test_display import JOB


@pytest.mark.parametrize("address", [None, "http://127.0.0.1:9"])
@pytest.mark.parametrize("way", ["blocking", "asyncio"])
def test_no_server_is_said_in_a_few_lines(tmp_path: Path, address: str | None, way: str) -> None:
    key = None if address is None else "populace_key"

    async def entered() -> None:
        async with connect_async(address, api_key=key, data=tmp_path):
            pass

    def opened() -> None:
        connect(address, api_key=key, data=tmp_path) if way == "blocking" else asyncio.run(entered())

    with pytest.raises(ClusterNotFound) as found:
        opened()

    told = traceback.format_exception(found.value)
    ours = [part for part in told if "/populace/" in part]
    assert len(ours) <= 3, told
    assert "direct cause" not in "".join(told)
    assert told[-1].startswith("populace.actors.errors.ClusterNotFound: No running Populace found at ")


def test_an_address_with_a_key_and_without_its_scheme_is_told_how_it_begins() -> None:
    with pytest.raises(InvalidRequest, match=r"begins so: http://127\.0\.0\.1:8000"):
        connect("127.0.0.1:8000", api_key="populace_key")


def test_where_nobody_looks_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with shown("Asking ada what it knows") as say:
        say("Asking ada more")

    assert capsys.readouterr() == ("", "")


def test_progress_names_the_phase_and_what_was_measured() -> None:
    said: list[str] = []

    TrainingProgress(said.append)(JOB)

    assert said == ["Training ada: rejected, step 8 of at most 9, loss 0.500"]
    assert training_phase("running", has_stepped=True, idle_s=60.0).startswith("being judged")
