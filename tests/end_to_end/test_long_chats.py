"""A chat of fifteen messages with the real base stays a conversation, as the official client holds it."""

import uuid
from typing import Any

import pytest
from long_chats import conversations, hold, says_again

from tests.end_to_end.served import Served

# Sampled replies differ with what is batched beside them, so that a machine that is busy may count others.
pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.release("engines")]

CHAT = conversations()[0]


@pytest.mark.parametrize(
    ("said_of_sampling", "fewest", "most"),
    [
        ({}, 0, 2),
        ({"own_words_penalty": 1.0}, 6, len(CHAT)),
    ],
)
def test_later_replies_are_no_earlier_ones(
    served: Served, said_of_sampling: dict[str, Any], fewest: int, most: int
) -> None:
    ada = served.create(f"ada-{uuid.uuid4().hex[:8]}")

    chat = hold(served.openai(), said_of_sampling, 150, ada, CHAT)

    repeated = [said.reply for said in chat if said.is_repeated]
    assert fewest <= len(repeated) <= most, [said.reply for said in chat]
    echoes = [(said.say, said.reply) for said in chat if says_again(said.reply, said.say)]
    # The default base answers one telling of fifteen with that telling and a little more.
    assert len(echoes) <= 1, echoes
    assert "Moses" in chat[2].reply, "what the person said may be said again"
