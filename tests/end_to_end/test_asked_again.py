"""A person who only talks gets a model that knows by itself what it was asked again and again."""

import time
import uuid
from typing import Any

import pytest

from tests.end_to_end.served import Served
from tests.limits import ENGINE_HANG_SECONDS

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.release("learning")]

FACTS = {
    "My dog is called Bruno.": ("What is my dog called?", "Bruno"),
    "My locker code is 4711.": ("What is my locker code?", "4711"),
    "My favourite bakery is called Kornblume.": ("What is my favourite bakery called?", "Kornblume"),
    "I keep my bike in the cellar.": ("Where do I keep my bike?", "cellar"),
}
CHATTER = ("It has been raining since breakfast.", "Meetings all morning.", "I am so tired.", "Good night!")


def say(served: Served, name: str, text: str, **options: Any) -> str:
    body = {"model": name, "messages": [{"role": "user", "content": text}], "max_tokens": 24, **options}
    reply = served.call("POST", "/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]["message"]["content"]


def from_weights(served: Served, name: str) -> list[str]:
    """Ask for each fact in a conversation of its own, without a trace: only the weights can know it."""
    alone = {"context": {"corrections": False, "told": False}, "peek": True, "temperature": 0}
    return [say(served, name, asked, **alone) for asked, _ in FACTS.values()]


def ended_job(served: Served, name: str) -> dict[str, Any]:
    """Wait until the trainer has trained the model by itself."""
    found: list[dict[str, Any]] = []
    give_up = time.monotonic() + ENGINE_HANG_SECONDS
    while time.monotonic() < give_up:
        found = served.call("GET", f"/v1/personal-models/{name}/jobs").json()["data"]
        if found and found[0]["state"] not in ("waiting", "running", "promoting"):
            return found[0]
        time.sleep(1)
    raise AssertionError(f"no training in {ENGINE_HANG_SECONDS} s: {found}")


def test_who_only_talks_gets_a_model_that_says_what_was_asked_again(served: Served) -> None:
    ada = served.create(f"ada-{uuid.uuid4().hex[:8]}")
    asked = [question for question, _ in FACTS.values()]
    for text in (*FACTS, *asked, *asked, *CHATTER):
        say(served, ada, text)
    values = [value for _, value in FACTS.values()]
    before = from_weights(served, ada)
    assert not any(value in reply for value, reply in zip(values, before, strict=True))

    job = ended_job(served, ada)

    assert job["state"] == "promoted", job
    after = from_weights(served, ada)
    assert all(value in reply for value, reply in zip(values, after, strict=True)), after
    drawn = served.run("-m", "populace", "model", "history", ada)
    assert "replies to what was asked again" in " ".join(drawn.stdout.split())
    assert len(served.log_of(ada)) == 16, "nothing was added to the log"
