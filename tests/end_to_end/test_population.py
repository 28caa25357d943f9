"""Members of a running Populace answer together, each with its own weights."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

import populace
from populace.actors.errors import InvalidRequest, PopulationTooSmall
from populace.adapters.random_adapter import write_random_adapter
from tests.end_to_end.served import Served
from tests.limits import ENGINE_HANG_SECONDS

pytestmark = [pytest.mark.engine, pytest.mark.ray]

QUESTION = "What is the capital of France?"
CITIES = ["Madrid", "Paris", "Rome"]


@pytest.fixture
def members(served: Served) -> list[str]:
    """Three models that take part."""
    names = [served.create(f"member-{uuid.uuid4().hex[:8]}") for _ in range(3)]
    for name in names:
        share(served, name, "votes")
    return names


def share(served: Served, name: str, sharing: str | None) -> None:
    served.call("PUT", f"/v1/personal-models/{name}/sharing", json={"sharing": sharing}).raise_for_status()


def test_members_are_asked_from_the_command_line_and_from_python(served: Served, members: list[str]) -> None:
    options = [part for city in CITIES for part in ("--choice", city)]
    options += [part for name in members for part in ("--model", name)]

    asked = served.run("-m", "populace", "population", "ask", QUESTION, *options, "--json")

    assert asked.returncode == 0, asked.stderr
    assert "destroyed" not in asked.stderr, "nothing is left waiting when the connection is closed"
    answer = json.loads(asked.stdout)
    assert [vote["model"] for vote in answer["votes"]] == members
    assert answer["measures"]["voted"] == 3
    heard: list[bool] = []
    with populace.connect(data=served.data) as population:
        said = population.ask(
            QUESTION, choices=CITIES, models=members, on_vote=lambda part: heard.append(part.is_final)
        )
        assert said.answer == answer["answer"], "greedily, and of the same base"
        assert heard == [False, False, True]
        with pytest.raises(PopulationTooSmall):
            population.ask(QUESTION, choices=CITIES, k=200)
        assert population.model(members[0]).log() == ()
    chat = served.openai().chat.completions.create(
        model="population",
        messages=[{"role": "user", "content": QUESTION}],
        extra_body={"population": {"choices": CITIES, "models": members}},
    )
    assert chat.choices[0].message.content == answer["answer"]
    assert answer["answer"] in CITIES


def test_members_that_share_texts_are_merged_into_a_revision_that_names_them(
    served: Served, base_directory: Path, tmp_path: Path
) -> None:
    sources: list[str] = []
    names = [f"merged-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    into = f"panel-{uuid.uuid4().hex[:8]}"
    with populace.connect(data=served.data) as population:
        for seed, name in enumerate(names):
            adapter = write_random_adapter(tmp_path / name, base_directory, seed=seed, rank=4, scale=0.05)
            model = population.create(name, adapter=adapter)
            model.share("votes")
            sources.append(model.show().aliases["latest"])
        with pytest.raises(InvalidRequest, match="votes only"):
            population.merge(names, into)
        for name in names:
            population.model(name).share("texts")
        with pytest.warns(UserWarning, match="mixes one adapter's B with another's A"):
            merged = population.merge(names, into, method="linear")

        assert population.model(into).show().aliases == {"latest": merged.revision.digest}
        assert merged.revision.sources == ((sources[0], 0.5), (sources[1], 0.5))
        assert population.model(into).chat("Hello", max_tokens=2)


def test_members_are_profiled_beside_the_engines(served: Served, members: list[str]) -> None:
    found: dict[str, Any] = {}
    give_up = time.monotonic() + ENGINE_HANG_SECONDS
    while time.monotonic() < give_up:
        found = {one["model"]: one for one in served.call("GET", "/v1/population/members").json()["data"]}
        if all(found[name]["profiled"] for name in members):
            break
        time.sleep(1.0)

    assert all(found[name]["profiled"] for name in members), found
    assert {found[name]["accuracy"] for name in members} == {found[members[0]]["accuracy"]}
    assert found[members[0]]["accuracy"] > 0.5, "the base knows most of what the probes ask"
    share(served, members[0], None)
    left = served.call("GET", "/v1/population/members").json()["data"]
    assert members[0] not in [one["model"] for one in left]
