"""The official client talks to a person through OpenAI's Responses API, on a real Populace."""

import uuid

import pytest
from openai import NotFoundError

from tests.end_to_end.served import Served

pytestmark = [pytest.mark.engine, pytest.mark.ray]


@pytest.fixture
def ada(served: Served) -> str:
    return served.create(f"ada-{uuid.uuid4().hex[:8]}")


def test_a_response_is_streamed_followed_read_again_and_deleted(served: Served, ada: str) -> None:
    client = served.openai()

    with client.responses.stream(model=ada, input="My dog is called Bruno.", max_output_tokens=12) as stream:
        kinds = [event.type for event in stream]
    first = client.responses.retrieve(_id_of(served, ada, 0))
    second = client.responses.create(
        model=ada, input="What is he called?", previous_response_id=first.id, max_output_tokens=12
    )
    client.responses.create(
        model=ada, input="And the cat?", previous_response_id=first.id, instructions="Be brief.", store=False
    )
    client.responses.delete(first.id)

    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] in ("response.completed", "response.incomplete")
    assert second.previous_response_id == first.id
    assert [turn["forgotten"] for turn in served.log_of(ada)] == [True, False, False]
    with pytest.raises(NotFoundError):
        client.responses.retrieve(first.id)
    assert client.responses.retrieve(second.id).output_text == second.output_text


def test_a_conversation_has_the_turns_that_were_said_in_it(served: Served, ada: str) -> None:
    client = served.openai()
    talk = client.conversations.create(metadata={"model": ada, "topic": "dogs"})

    for text in ("My dog is called Bruno.", "What is he called?"):
        client.responses.create(model=ada, input=text, conversation=talk.id, max_output_tokens=8)
    items = client.conversations.items.list(talk.id, order="asc").data

    assert [item.type for item in items] == ["message"] * 4
    assert client.conversations.retrieve(talk.id).metadata == talk.metadata
    assert client.conversations.delete(talk.id).deleted


def _id_of(served: Served, model: str, position: int) -> str:
    turn = served.log_of(model)[position]
    return f"resp_{model}_{position:x}_{turn['completion_id'][-16:]}"
