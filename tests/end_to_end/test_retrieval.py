"""What a person said in another conversation, through a running Populace: the official client and Python."""

import uuid

import pytest
from openai.types.chat import ChatCompletionMessageParam

import populace
from tests.end_to_end.served import Served

pytestmark = [pytest.mark.engine, pytest.mark.ray]


@pytest.fixture
def ada(served: Served) -> str:
    return served.create(f"ada-{uuid.uuid4().hex[:8]}")


def asking(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def test_what_was_said_elsewhere_is_told_and_the_reply_names_it(served: Served, ada: str) -> None:
    client = served.openai()
    for text in ("My dog is called Bruno.", "The weather is fine."):
        client.chat.completions.create(model=ada, messages=asking(text), max_tokens=8)
    question = asking("What is my dog called?")

    alone = client.chat.completions.create(
        model=ada, messages=question, max_tokens=24, extra_body={"context": {"told": False}}
    )
    told = client.chat.completions.create(
        model=ada, messages=question, max_tokens=24, extra_body={"context": {"retrieve": 3}}
    )

    assert alone.model_extra is not None
    assert alone.model_extra["populace"]["retrieved"] == []
    assert told.model_extra is not None
    positions = told.model_extra["populace"]["retrieved"]
    assert 0 in positions
    assert served.log_of(ada)[3]["retrieved"] == positions
    assert alone.usage is not None
    assert told.usage is not None
    assert told.usage.prompt_tokens > alone.usage.prompt_tokens


def test_python_and_the_command_line_retrieve_too(served: Served, ada: str) -> None:
    with populace.connect(data=served.data) as population:
        model = population.model(ada)
        first = model.chat("My dog is called Bruno.", max_tokens=8, conversation="first")
        model.feedback(first, correction="Bruno is a fine name.")

        asked = model.chat("My dog?", max_tokens=8, conversation="second", context={"retrieve": 3})
        remembered = model.memory_at(asked.position + 1)

        assert asked.retrieved == (first.position,)
        assert remembered.version == 2, "the turn is said again with what it was told"
    typed = served.run(
        "-m", "populace", "run", ada, "Who is Bruno?", "--new", "--retrieve", "2", "--max-tokens", "8"
    )

    assert typed.returncode == 0, typed.stderr
    assert first.position in served.log_of(ada)[-1]["retrieved"]
