"""No good reply is ended, whatever it repeats, and each real loop is, as is noise in several scripts."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from populace.policies.degeneration import (
    SEEN_CHARACTERS_MAX,
    STEP_CHARACTERS,
    Broken,
    degeneration,
    sound_part,
)

HERE = Path(__file__).parent


def _replies(file: str) -> dict[str, str]:
    """Read replies, each of which follows a line with its name."""
    parts = re.split(r"^=== (.*)\n", (HERE / file).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {name: text.removesuffix("\n") for name, text in zip(parts[::2], parts[1::2], strict=True)}


GOOD = _replies("good_replies.txt")
BROKEN = _replies("broken_replies.txt")


def ends_at(text: str) -> tuple[int, Broken] | None:
    """Return where a reply that grows by some characters a step is ended first, and how."""
    for length in (*range(STEP_CHARACTERS, len(text), STEP_CHARACTERS), len(text)):
        broken = degeneration(text[max(0, length - SEEN_CHARACTERS_MAX) : length])
        if broken is not None:
            return length, broken
    return None


@pytest.mark.parametrize("name", GOOD)
def test_a_good_reply_is_ended_at_no_length(name: str) -> None:
    text = GOOD[name]

    broken = [
        length
        for length in range(len(text) + 1)
        if degeneration(text[max(0, length - SEEN_CHARACTERS_MAX) : length]) is not None
    ]

    assert broken == []
    assert sound_part(text) == text


@pytest.mark.parametrize("name", BROKEN)
def test_a_loop_and_noise_are_ended_and_what_was_good_before_is_kept(name: str) -> None:
    text = BROKEN[name]

    found = ends_at(text)

    assert found is not None
    length, broken = found
    assert broken.kind == ("noise" if name.startswith("noise") else "repetition")
    kept = sound_part(text[:length])
    assert len(kept) < length
    assert text.startswith(kept) or kept == "…"
    assert ends_at(kept) is None


@pytest.mark.parametrize("name", BROKEN)
def test_a_reply_that_was_ended_is_recognised_when_a_client_sends_it_back(name: str) -> None:
    text = BROKEN[name]
    found = ends_at(text)
    assert found is not None
    reply = text[: found[0]]

    assert sound_part(reply.rstrip()) == sound_part(reply) != reply


def test_what_is_nothing_but_a_loop_is_an_ellipsis_in_the_next_prompt() -> None:
    assert sound_part("ha " * 100) == "…"
    assert sound_part("") == ""


def test_a_loop_is_ended_soon() -> None:
    found = ends_at("Your cat is called Moses. " + "Moses is a wonderful cat. " * 40)

    assert found is not None
    assert found[0] <= 200


def test_more_of_the_same_never_makes_a_broken_reply_whole() -> None:
    text = "Let us sing. " + "I am glad to have you both. " * 20
    judged = [degeneration(text[:length]) is not None for length in range(len(text) + 1)]

    assert not any(before and not after for before, after in pairwise(judged))
