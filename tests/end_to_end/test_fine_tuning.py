"""The official client fine-tunes a running Populace with a file, and talks to what comes of it."""

import json
import time
import uuid

import pytest
from openai import OpenAI

from tests.end_to_end.served import Served
from tests.end_to_end.test_training import ANSWER, IN_OTHER_WORDS, QUESTIONS, says
from tests.limits import ENGINE_HANG_SECONDS

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.release("learning")]

JUDGING = [
    "Do you know my dog's name?",
    "What do I call the dog?",
    "My dog is called what?",
    "Whose dog is it?",
]


def uploaded(client: OpenAI, questions: list[str]) -> str:
    lines = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": ANSWER}]}
        for question in questions
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    return client.files.create(file=("dogs.jsonl", content), purpose="fine-tune").id


def test_a_file_becomes_a_model_that_says_what_is_in_it(served: Served) -> None:
    client, name = served.openai(), f"dogs-{uuid.uuid4().hex[:8]}"

    job = client.fine_tuning.jobs.create(
        model="base",
        training_file=uploaded(client, QUESTIONS),
        validation_file=uploaded(client, JUDGING),
        suffix=name,
    )
    give_up = time.monotonic() + ENGINE_HANG_SECONDS
    while job.status not in ("succeeded", "failed", "cancelled") and time.monotonic() < give_up:
        time.sleep(0.5)
        job = client.fine_tuning.jobs.retrieve(job.id)

    assert job.status == "succeeded", job.error
    assert job.fine_tuned_model is not None
    assert "Bruno" in says(served, job.fine_tuned_model, IN_OTHER_WORDS)
    assert "Bruno" not in says(served, f"{name}@base", IN_OTHER_WORDS)
    [checkpoint] = client.fine_tuning.jobs.checkpoints.list(job.id)
    assert checkpoint.fine_tuned_model_checkpoint == job.fine_tuned_model
    assert checkpoint.metrics.full_valid_loss is not None
    steps = [event for event in client.fine_tuning.jobs.list_events(job.id) if event.type == "metrics"]
    assert len(steps) > 10
    content = client.files.content(job.training_file).text
    assert IN_OTHER_WORDS not in content
    assert content.count(ANSWER) == len(QUESTIONS)
