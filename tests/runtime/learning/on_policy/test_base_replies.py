"""The base's replies to what everybody has in common are asked for once, whatever the disk does."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from populace.actors.engine import MemoryUse, Message
from populace.learning.on_policy.base_replies import BaseReplies
from populace.learning.rollouts import Rollout

PROMPTS = [(Message("user", "What is rain?"),), (Message("system", "Be short."), Message("user", "Why?"))]


class Engine:
    """Answers with the number of the prompts that it was asked so far, and counts what it was asked with."""

    context_tokens = 256

    def __init__(self) -> None:
        self.asked: list[tuple[bool, bool, int]] = []

    def answers(
        self,
        packed: bytes | bytearray | None,
        prompts: Sequence[tuple[Message, ...]],
        *,
        tokens_max: int,
        memory: MemoryUse | None = None,
    ) -> list[Rollout]:
        self.asked.append((packed is not None, memory is not None, tokens_max))
        return [
            Rollout(
                prompt, f"reply {len(self.asked)}", (5, number), (-0.5, -1.5), "base", 0, finished=number > 0
            )
            for number, prompt in enumerate(prompts)
        ]


@pytest.fixture
def engine() -> Engine:
    return Engine()


def test_what_the_base_replied_is_read_by_all_that_come_later(engine: Engine, tmp_path: Path) -> None:
    first = BaseReplies(engine, tmp_path / "new" / "vllm", "f" * 64).answers(None, PROMPTS, tokens_max=9)
    again = BaseReplies(engine, tmp_path / "new" / "vllm", "f" * 64).answers(None, PROMPTS, tokens_max=9)

    assert again == first
    assert [reply.reply for reply in first] == ["reply 1"] * 2
    assert engine.asked == [(False, False, 9)]
    assert "rain" not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_another_base_length_or_prompt_is_asked_anew(engine: Engine, tmp_path: Path) -> None:
    of_base = BaseReplies(engine, tmp_path, "f" * 64)
    of_base.answers(None, PROMPTS, tokens_max=9)
    of_base.answers(None, PROMPTS, tokens_max=8)
    of_base.answers(None, PROMPTS[:1], tokens_max=9)
    of_base.answers(None, PROMPTS[::-1], tokens_max=9)
    BaseReplies(engine, tmp_path, "e" * 64).answers(None, PROMPTS, tokens_max=9)

    assert len(engine.asked) == 5


def test_an_adapter_and_a_memory_are_nobodys_else(engine: Engine, tmp_path: Path) -> None:
    of_base = BaseReplies(engine, tmp_path, "f" * 64)
    for _ in range(2):
        of_base.answers(b"packed", PROMPTS, tokens_max=9)
        of_base.answers(None, PROMPTS, tokens_max=9, memory=MemoryUse())

    assert engine.asked == [(True, False, 9), (False, True, 9)] * 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '[{"reply": 1}, 2]', "[1, 2]"])
def test_a_damaged_file_is_made_anew(engine: Engine, tmp_path: Path, content: str) -> None:
    of_base = BaseReplies(engine, tmp_path, "f" * 64)
    of_base.answers(None, PROMPTS, tokens_max=9)
    [path] = tmp_path.iterdir()
    path.write_text(content)

    assert of_base.answers(None, PROMPTS, tokens_max=9)[0].reply == "reply 2"
    assert of_base.answers(None, PROMPTS, tokens_max=9)[0].reply == "reply 2"


def test_a_disk_that_takes_nothing_costs_no_reply(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    of_base = BaseReplies(engine, blocked / "vllm", "f" * 64)

    with caplog.at_level(logging.INFO):
        replies = [of_base.answers(None, PROMPTS, tokens_max=9)[0].reply for _ in range(2)]

    assert replies == ["reply 1", "reply 2"]
    assert "not kept" in caplog.text
