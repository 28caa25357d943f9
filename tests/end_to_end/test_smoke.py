"""The end-to-end path of ``make test``: vLLM and Ray are started, and the host is killed."""

import os
import signal
import uuid

import pytest

from tests.end_to_end.served import Served, ask, chat

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.smoke]


@pytest.fixture
def ada(served: Served) -> str:
    return served.create(f"ada-{uuid.uuid4().hex[:8]}")


def test_the_openai_client_gets_the_right_answer_from_a_personal_model(served: Served, ada: str) -> None:
    question = ask("What is the capital of France?")

    reply = served.openai().chat.completions.create(
        model=ada, messages=question, temperature=0, max_tokens=30
    )

    assert reply.choices[0].message.content == "The capital of France is Paris."
    assert reply.choices[0].finish_reason == "stop"
    assert [turn["reply"] for turn in served.log_of(ada)] == ["The capital of France is Paris."]


def test_a_streamed_reply_is_the_whole_reply_in_pieces(served: Served, ada: str) -> None:
    client = served.openai()
    question = ask("What is the capital of France?")

    stream = client.chat.completions.create(
        model=ada,
        messages=question,
        temperature=0,
        max_tokens=30,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)

    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == "The capital of France is Paris."
    assert len(pieces) > 3
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert served.log_of(ada)[0]["reply"] == "".join(pieces)


def test_an_operation_id_gives_the_same_completion_also_after_the_host_was_killed(served: Served) -> None:
    model = served.create(f"again-{uuid.uuid4().hex[:8]}")
    before = chat(served, model, "same-operation")

    os.kill(served.host_process().pid, signal.SIGKILL)
    after = chat(served, model, "same-operation")

    assert after["id"] == before["id"]
    assert after["choices"] == before["choices"]
    assert after["populace"]["replayed"] is True
    assert len(served.log_of(model)) == 1
