"""What a person thinks of a reply, through a running Populace: Python, HTTP and the command line alike."""

import json
import uuid

import pytest

import populace
from populace.actors.errors import InvalidRequest
from tests.end_to_end.served import Served

pytestmark = [pytest.mark.engine, pytest.mark.ray]


@pytest.fixture
def ada(served: Served) -> str:
    return served.create(f"ada-{uuid.uuid4().hex[:8]}")


def test_feedback_given_anywhere_is_read_everywhere(served: Served, ada: str) -> None:
    message = {"role": "user", "content": "Hello"}
    reply = served.openai().chat.completions.create(
        model=ada,
        messages=[message],  # pyright: ignore[reportArgumentType] - a literal of its TypedDict
        max_tokens=4,
    )

    over_http = served.call(
        "POST", "/v1/feedback", json={"model": ada, "completion_id": reply.id, "thumb": "up"}
    )
    with populace.connect(data=served.data) as population:
        model = population.model(ada)
        turn = model.chat("And again", max_tokens=4)
        given = model.feedback(turn, thumb=True, rating=0.25, correction="Hello again.")
        assert model.feedback(turn, thumb=True, rating=0.25, correction="Hello again.") == given
        with pytest.raises(InvalidRequest, match="from 0 to 1"):
            model.feedback(turn, rating=5)
        with pytest.raises(InvalidRequest, match="A thumb is True"):
            model.feedback(turn, thumb="Up")  # pyright: ignore[reportArgumentType]
    typed = served.run("-m", "populace", "model", "feedback", ada, "--down", "--reward", "-1")
    both = served.run("-m", "populace", "model", "feedback", ada, "--down", "--up")
    listed = served.run("-m", "populace", "model", "feedback", ada)
    as_json = served.run("-m", "populace", "model", "feedback", ada, "--turn", "1", "--json")

    assert over_http.status_code == 201, over_http.text
    assert given.position == 1
    assert typed.returncode == 0, typed.stderr
    assert f"turn 1 of {ada}" in typed.stdout
    assert both.returncode != 0
    assert "exclude each other" in both.stderr
    assert "Hello again." in listed.stdout
    found = json.loads(as_json.stdout)["data"]
    assert {(one["position"], one["thumb"], one["rating"], one["reward"]) for one in found} == {
        (1, "up", 0.25, None),
        (1, "down", None, -1.0),
    }


def test_who_has_said_nothing_yet_cannot_be_judged(served: Served, ada: str) -> None:
    answer = served.run("-m", "populace", "model", "feedback", ada, "--up")

    assert answer.returncode != 0
    assert "has said nothing yet" in answer.stderr
