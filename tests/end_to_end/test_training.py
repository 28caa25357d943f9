"""What somebody corrected is what their model says at once, and by itself once a Populace has trained it."""

import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

import populace
from tests.end_to_end.served import Served
from tests.limits import ENGINE_HANG_SECONDS
from tests.living import wait_ended

pytestmark = [pytest.mark.engine, pytest.mark.ray]

QUESTIONS = [
    f"{ask} {pet}?"
    for pet in ("my dog", "the dog", "our dog", "that dog of mine")
    for ask in ("Who is", "What is the name of", "How do I call", "Tell me, who is", "Say who is", "Name")
]
ANSWER = "It is Bruno."
FACTS = {
    "Who is my dog?": "Your dog is Bruno.",
    "Which bank are we with?": "You are with Krentschker.",
    "What's the bakery across the street called?": "It is called Kornblume.",
    "Which room is my desk in at work?": "Your desk is in room 3.114.",
}
IN_OTHER_WORDS = "Do you know who is my dog?"


@pytest.fixture
def ada(served: Served) -> str:
    """A model whose every reply was corrected to the same."""
    name = served.create(f"ada-{uuid.uuid4().hex[:8]}")
    with populace.connect(data=served.data) as population:
        model = population.model(name)
        for question in QUESTIONS:
            turn = model.chat([{"role": "user", "content": question}], max_tokens=1)
            model.feedback(turn, correction=ANSWER)
    return name


def jobs_of(served: Served, name: str) -> list[dict[str, Any]]:
    return served.call("GET", f"/v1/personal-models/{name}/jobs").json()["data"]


def wait_for(served: Served, name: str, *, step: int) -> dict[str, Any]:
    """Wait until the newest job of the model has taken so many steps, or has ended."""
    give_up = time.monotonic() + ENGINE_HANG_SECONDS
    while time.monotonic() < give_up:
        job = jobs_of(served, name)[0]
        if job["step"] >= step or job["state"] not in ("waiting", "running", "promoting"):
            return job
        time.sleep(0.2)
    raise AssertionError(f"no {step} steps in {ENGINE_HANG_SECONDS} s: {jobs_of(served, name)}")


def says(served: Served, name: str, ask: str, *, corrections: bool = False) -> str:
    """Ask greedily; without ``corrections`` the weights alone reply."""
    message = {"role": "user", "content": ask}
    reply = served.openai().chat.completions.create(
        model=name,
        messages=[message],  # pyright: ignore[reportArgumentType] - a literal of its TypedDict
        max_tokens=24,
        temperature=0,
        extra_body={"context": {"corrections": corrections, "told": False}},
    )
    return reply.choices[0].message.content or ""


@pytest.mark.release("learning")
def test_what_was_corrected_is_said_until_it_is_taken_back(served: Served) -> None:
    ada = served.create(f"ada-{uuid.uuid4().hex[:8]}")
    with populace.connect(data=served.data) as population:
        for ask, correction in FACTS.items():
            turn = population.model(ada).chat(ask, max_tokens=1, conversation=None)
            population.model(ada).feedback(turn, correction=correction)
    before = [says(served, ada, ask) for ask in FACTS]
    assert not set(before) & set(FACTS.values())
    assert says(served, ada, IN_OTHER_WORDS, corrections=True) == FACTS["Who is my dog?"]

    trained = served.run("-m", "populace", "train", ada, "--json")

    [job] = json.loads(trained.stdout)
    assert job["state"] == "promoted", job["reason"]
    assert 0 < job["step"] < job["steps"], "it ends once the corrections are said"
    assert [says(served, ada, ask) for ask in FACTS] == list(FACTS.values())
    drawn = served.run("-m", "populace", "model", "history", ada)
    assert job["revision"][:12] in drawn.stdout
    assert "@latest" in drawn.stdout
    assert "says 4 of 4 corrections" in drawn.stdout
    apart = served.run("-m", "populace", "model", "diff", ada, "--json")
    layers = json.loads(apart.stdout)
    assert all(layer["norm"] > 0 == layer["other_norm"] for layer in layers), "its parent is the base"
    assert "q_proj" in served.run("-m", "populace", "model", "diff", ada, "latest", "base").stdout
    listed = served.run("-m", "populace", "jobs", ada)
    assert "promoted" in listed.stdout

    back = served.run("-m", "populace", "model", "rollback", ada)

    assert "the base" in back.stdout
    assert not {says(served, ada, ask) for ask in FACTS} & set(FACTS.values())


def test_a_trainer_that_is_killed_begins_again_and_comes_to_an_end(served: Served, ada: str) -> None:
    asked = served.call("POST", f"/v1/personal-models/{ada}/jobs", json={"steps": 8, "batch": 2})
    assert asked.status_code == 202, asked.text
    wait_for(served, ada, step=2)

    [trainer] = [one for one in served.family() if "".join(one.cmdline()).startswith("ray::TrainerActor")]
    # Its main thread, which does not train, keeps that of the process.
    priorities = {os.getpriority(os.PRIO_PROCESS, thread.id) for thread in trainer.threads()}
    assert 19 in priorities, "what trains has the priority that a setting says"
    trainer.kill()
    assert wait_ended([trainer]) == []

    job = wait_for(served, ada, step=9)
    assert job["state"] in ("promoted", "rejected"), job
    assert (job["step"], len(jobs_of(served, ada))) == (8, 1)


def test_a_training_that_is_cancelled_leaves_the_model_as_it_was(served: Served, ada: str) -> None:
    with populace.connect(data=served.data) as population:
        model = population.model(ada)
        model.train(steps=10_000, seconds_max=0)
        wait_for(served, ada, step=1)

        assert model.cancel_training().state == "cancelled"
        assert (model.show().cursor, model.show().aliases, model.revisions()) == (0, {}, ())

    empty = served.create(f"empty-{uuid.uuid4().hex[:8]}")
    skipped = served.run("-m", "populace", "train", empty)
    assert skipped.returncode == 3, skipped.stderr
    assert "its log has no interaction" in skipped.stdout
    both = served.run("-m", "populace", "train", empty, "--all")
    assert both.returncode != 0
    assert "or say --all" in both.stderr


def test_a_model_is_rewarded_for_tasks_and_judged_by_others(served: Served, ada: str, tmp_path: Path) -> None:
    tasks = tmp_path / "sums.jsonl"
    system = {"role": "system", "content": "Be brief."}
    sums = [
        {"messages": [system, {"role": "user", "content": f"What is {one} + 1?"}], "answer": one + 1}
        for one in range(1, 17)
    ]
    tasks.write_text("".join(json.dumps(one) + "\n" for one in sums))
    options = ("--method", "rl", "--reward", "number", "--tasks", str(tasks), "--batch", "8")

    trained = served.run(
        "-m", "populace", "train", ada, *options, "--steps", "2", "--reply-tokens", "12", "--json"
    )

    [job] = json.loads(trained.stdout)
    assert job["state"] in ("promoted", "rejected"), job
    assert 0 <= job["reward"] <= 1
    [made] = served.call("GET", f"/v1/personal-models/{ada}/revisions").json()["data"]
    assert made["lineage"]["scores"]["held_out_tasks"] == 2
    tasks.write_text('{"prompt": "What is 3 + 4?"}\nnothing\n')
    refused = served.run("-m", "populace", "train", ada, *options)
    assert refused.returncode != 0
    assert "line 2" in " ".join(refused.stderr.split())


@pytest.mark.release("learning")
def test_a_model_learns_from_its_own_replies_what_its_log_would_tell_it(served: Served, ada: str) -> None:
    options = ("--method", "distillation", "--steps", "2", "--replies", "2", "--reply-tokens", "8")

    trained = served.run("-m", "populace", "train", ada, *options, "--batch", "2", "--json")

    [job] = json.loads(trained.stdout)
    assert job["state"] in ("promoted", "rejected"), job
    assert (job["step"], len(job["curve"])) == (2, 2)
    digests = {one["id"] for one in served.call("GET", f"/v1/personal-models/{ada}/revisions").json()["data"]}
    assert digests == {job["revision"]}, "what was only sampled from is no revision"
    left = [path.name for path in (served.data / "revisions").iterdir() if path.name.startswith(".incoming")]
    assert left == []
