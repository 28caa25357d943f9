"""A training in a running Populace that is killed or cancelled, of rewards, and of a model's own replies."""

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

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.release("learning")]

QUESTIONS = [
    f"{ask} {pet}?"
    for pet in ("my dog", "the dog", "our dog", "that dog of mine")
    for ask in ("Who is", "What is the name of", "How do I call", "Tell me, who is", "Say who is", "Name")
]
ANSWER = "It is Bruno."
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


def assert_judged(served: Served, name: str, job: dict[str, Any]) -> dict[str, float]:
    """It came to its end: what was promoted is served, what was not is kept, and why is in its scores."""
    [made] = served.call("GET", f"/v1/personal-models/{name}/revisions").json()["data"]
    aliases = served.call("GET", f"/v1/personal-models/{name}").json()["aliases"]
    assert made["id"] == job["revision"], "what was only sampled from is no revision"
    assert aliases == ({"latest": made["id"]} if job["state"] == "promoted" else {}), job
    assert job["state"] == "promoted" or job["reason"]
    return made["lineage"]["scores"]


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
    assert_judged(served, ada, job)
    assert (job["step"], len(jobs_of(served, ada))) == (8, 1)


def test_a_training_that_is_cancelled_leaves_the_model_as_it_was(served: Served, ada: str) -> None:
    with populace.connect(data=served.data) as population:
        model = population.model(ada)
        model.train(steps=10_000, seconds_max=0)
        wait_for(served, ada, step=1)

        assert model.cancel_training().state == "cancelled"
        assert (model.show().cursor, model.show().aliases, model.revisions()) == (0, {}, ())

    empty = served.create(f"empty-{uuid.uuid4().hex[:8]}")
    skipped = served.run("-m", "populace", "model", "train", empty)
    assert skipped.returncode == 3, skipped.stderr
    assert "its log has no interaction" in skipped.stdout
    both = served.run("-m", "populace", "model", "train", empty, "--all")
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
        "-m", "populace", "model", "train", ada, *options, "--steps", "2", "--reply-tokens", "12", "--json"
    )

    [job] = json.loads(trained.stdout)
    scores = assert_judged(served, ada, job)
    assert scores["held_out_tasks"] == 2
    gain = scores["held_out_reward"] - scores["held_out_reward_parent"]
    assert scores["gain"] == pytest.approx(gain)
    assert gain > 0 or job["state"] == "rejected"
    tasks.write_text('{"prompt": "What is 3 + 4?"}\nnothing\n')
    refused = served.run("-m", "populace", "model", "train", ada, *options)
    assert refused.returncode != 0
    assert "line 2" in " ".join(refused.stderr.split())


def test_a_model_learns_from_its_own_replies_what_its_log_would_tell_it(served: Served, ada: str) -> None:
    options = ("--method", "distillation", "--steps", "2", "--replies", "2", "--reply-tokens", "8")

    trained = served.run("-m", "populace", "model", "train", ada, *options, "--batch", "2", "--json")

    [job] = json.loads(trained.stdout)
    assert_judged(served, ada, job)
    assert (job["step"], len(job["curve"])) == (2, 2)
    left = [path.name for path in (served.data / "revisions").iterdir() if path.name.startswith(".incoming")]
    assert left == []
