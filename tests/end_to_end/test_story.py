"""One person's life in a running Populace: the real base, over HTTP, in Python and at the command line.

Ada is corrected and trained once. What else may become of a person is tried on copies of her.
"""

import concurrent.futures
import json
import os
import signal
import subprocess
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import populace
from populace.adapters.random_adapter import write_random_adapter
from tests.end_to_end.served import Served, ask, chat
from tests.end_to_end.test_memory import TOLERANCE, memory_of
from tests.limits import ENGINE_HANG_SECONDS

pytestmark = [pytest.mark.engine, pytest.mark.ray]

FACTS = {"Who is my dog?": "Your dog is Bruno.", "Which bank are we with?": "You are with Krentschker."}
DOG, BANK = FACTS
IN_OTHER_WORDS = "Do you know who is my dog?"
PEOPLE = 6
TURNS = 3


@dataclass(frozen=True)
class Ada:
    """Who was corrected and trained: what she said before, her training, and the file that has all of her."""

    name: str
    untaught: list[str]
    at_once: str
    job: dict[str, Any]
    file: Path


def command(served: Served, *words: str | Path) -> str:
    """Run the command line, which must succeed, and return what it printed."""
    done = run(served, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run(served: Served, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return served.run("-m", "populace", *map(str, words))


def says(served: Served, name: str, *, corrections: bool = False) -> list[str]:
    """Ask for both facts greedily, without the memory; without ``corrections`` the weights alone reply."""
    return [_said(served, name, question, corrections=corrections) for question in FACTS]


def _said(served: Served, name: str, question: str, *, corrections: bool = False) -> str:
    reply = served.openai().chat.completions.create(
        model=f"{name}:peek",
        messages=ask(question),
        max_tokens=24,
        temperature=0,
        extra_body={
            "context": {"corrections": corrections, "told": False},
            "memory": {"read": False, "write": False},
        },
    )
    return reply.choices[0].message.content or ""


def copy_of(served: Served, ada: Ada) -> str:
    """Bring her file in again, under another name."""
    name = f"copy-{uuid.uuid4().hex[:8]}"
    made = served.call(
        "POST", "/v1/personal-models/import", params={"name": name}, content=ada.file.read_bytes()
    )
    assert made.status_code == 201, made.text
    return name


@pytest.fixture(scope="module")
def ada(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Ada:
    name, file = f"ada-{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("kept") / "ada.populace"
    command(served, "model", "create", name)
    with populace.connect(data=served.data) as population:
        model = population.model(name)
        turn = model.chat(DOG, max_tokens=8, conversation=None)
        model.feedback(turn, thumb=False, correction=FACTS[DOG])
    reply = served.openai().chat.completions.create(model=name, messages=ask(BANK), max_tokens=8)
    judged = {"model": name, "completion_id": reply.id, "correction": FACTS[BANK]}
    assert served.call("POST", "/v1/feedback", json=judged).status_code == 201
    untaught = says(served, name)
    at_once = _said(served, name, IN_OTHER_WORDS, corrections=True)
    [job] = json.loads(command(served, "model", "train", name, "--json"))
    command(served, "model", "export", name, file)
    return Ada(name, untaught, at_once, job, file)


def test_what_was_corrected_is_said_at_once_and_by_the_weights_after_a_training(
    served: Served, ada: Ada
) -> None:
    assert not set(ada.untaught) & set(FACTS.values())
    assert ada.at_once == FACTS[DOG]
    assert ada.job["state"] == "promoted", ada.job["reason"]
    assert 0 < ada.job["step"] < ada.job["steps"], "it ends once the corrections are said"
    assert says(served, ada.name) == list(FACTS.values())

    history = command(served, "model", "history", ada.name)
    given = " ".join(command(served, "model", "feedback", ada.name, "--json").split())

    assert ada.job["revision"][:12] in history
    assert "@latest" in history
    assert "says 2 of 2 corrections" in history
    assert all(correction in given for correction in FACTS.values())
    assert len(served.log_of(ada.name)) == 2, "a peek leaves no turn"


def test_who_is_set_back_says_what_was_said_before_and_whom_they_were_forked_from_does_not(
    served: Served, ada: Ada
) -> None:
    fork = f"fork-{uuid.uuid4().hex[:8]}"
    command(served, "model", "fork", ada.name, fork)
    assert says(served, fork) == list(FACTS.values())

    told = command(served, "model", "rollback", fork)

    assert "the base" in told
    assert says(served, fork) == ada.untaught
    assert says(served, ada.name) == list(FACTS.values())


def test_a_person_is_the_same_for_another_tenant_that_takes_in_their_file(
    served: Served, ada: Ada, tmp_path: Path
) -> None:
    key = json.loads(command(served, "key", "create", f"acme-{uuid.uuid4().hex[:8]}", "--json"))["key"]
    theirs = {"headers": {"Authorization": f"Bearer {key}"}}
    path = f"/v1/personal-models/{ada.name}"
    assert served.call("GET", path, **theirs).json()["error"]["code"] == "model_not_found"

    with populace.connect(served.url, api_key=key) as population:
        model = population.import_model(ada.file)
        log, said = model.log(), [model.peek(question, temperature=0, max_tokens=24) for question in FACTS]

    assert model.name == ada.name
    assert [turn.completion_id for turn in log] == [turn["completion_id"] for turn in served.log_of(ada.name)]
    assert served.call("GET", path, **theirs).json()["aliases"] == {"latest": ada.job["revision"]}
    assert [str(one) for one in said] == list(FACTS.values())
    assert (
        served.call("GET", f"{path}/memory", **theirs).json()["norms"] == memory_of(served, ada.name)["norms"]
    )
    with populace.connect(served.url, api_key=served.key) as population:
        file = population.model(ada.name).export(tmp_path / "again.populace")
    assert file.read_bytes() == ada.file.read_bytes(), "as the command line wrote it"
    refused = run(served, "model", "export", ada.name, file)
    assert (refused.returncode, "--force" in refused.stderr) == (1, True)


def test_a_turn_that_is_forgotten_leaves_the_log_the_memory_and_the_weights(served: Served, ada: Ada) -> None:
    name = copy_of(served, ada)
    before = memory_of(served, name, position=1)["norms"]
    with populace.connect(data=served.data) as population:
        model = population.model(name)
        [found] = model.forget("bank").found

        told = model.forget(found)

        assert (told.positions, told.memory) == ((1,), "folded")
        assert told.revisions == (ada.job["revision"],)
        assert told.aliases == (("latest", None),)
        assert [turn.forgotten for turn in model.log()] == [False, True, False]
        assert [given.opinion.correction for given in model.opinions()] == [FACTS[DOG]]
    after = memory_of(served, name)["norms"]
    assert max(abs(one - other) for one, other in zip(before, after, strict=True)) <= TOLERANCE * max(before)
    assert "bank" not in str(served.log_of(name))
    assert says(served, name) == ada.untaught
    assert says(served, ada.name) == list(FACTS.values()), "who still has the turn still knows it"


def test_an_adapter_that_is_published_answers_and_what_is_none_changes_nothing(
    served: Served, base_directory: Path, tmp_path: Path
) -> None:
    name = served.create(f"eve-{uuid.uuid4().hex[:8]}")
    adapter = write_random_adapter(tmp_path / "adapter", base_directory, seed=21)
    path = f"/v1/personal-models/{name}/revisions"

    def revision_of_answer() -> str:
        body = {"model": name, "messages": ask("Who are you?"), "max_tokens": 2}
        return served.call("POST", "/v1/chat/completions", json=body).headers["x-populace-revision"]

    assert revision_of_answer() == "base"
    refused = served.call("POST", path, content=b"hello")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "adapter_invalid")
    assert revision_of_answer() == "base"
    command(served, "model", "publish", name, adapter)
    [made] = served.call("GET", path).json()["data"]
    assert (made["method"], made["readiness"]) == ("imported", "ready")
    assert revision_of_answer() == made["id"]


def test_after_kill_9_of_the_host_every_acknowledged_turn_is_in_the_log_once(
    served: Served, ada: Ada
) -> None:
    people = [served.create(f"crash-{uuid.uuid4().hex[:8]}") for _ in range(PEOPLE)]
    first_done = threading.Event()

    def talk(name: str) -> list[dict[str, Any]]:
        replies: list[dict[str, Any]] = []
        for number in range(TURNS):
            replies.append(chat(served, name, f"{name}-{number}"))
            first_done.set()
        return replies

    with populace.connect(data=served.data) as population, concurrent.futures.ThreadPoolExecutor() as pool:
        remembered = population.model(ada.name).memory.state
        talking = {name: pool.submit(talk, name) for name in people}
        assert first_done.wait(ENGINE_HANG_SECONDS)
        os.kill(served.host_process().pid, signal.SIGKILL)
        acknowledged = {name: future.result(ENGINE_HANG_SECONDS) for name, future in talking.items()}
        again = population.model(ada.name).memory.state

    for name, replies in acknowledged.items():
        log = served.log_of(name)
        assert [turn["operation"] for turn in log] == [f"key-{name}-{number}" for number in range(TURNS)]
        assert [(turn["completion_id"], turn["reply"]) for turn in log] == [
            (reply["id"], reply["choices"][0]["message"]["content"]) for reply in replies
        ]
    assert remembered is not None
    assert again is not None
    assert np.array_equal(remembered, again), "a memory outlives it to the bit"


def test_of_a_person_who_is_erased_nothing_is_left_under_their_name(served: Served, ada: Ada) -> None:
    name = copy_of(served, ada)

    command(served, "model", "rm", name, "--yes")

    assert served.call("GET", f"/v1/personal-models/{name}").status_code == 404
    served.create(name)
    assert served.log_of(name) == []
    memory = memory_of(served, name)
    assert (memory["version"], memory["module"], memory["norms"]) == (0, None, [])
    assert says(served, name) == ada.untaught
