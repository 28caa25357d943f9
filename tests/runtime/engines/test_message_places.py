"""Where each message begins is found for any template, with two renderings for those that only place it."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.actors.engine import Message
from populace.engines.prompts import Render, content_places

CONTENTS = ("Hi", " spaced out \n", "0 or 1", "", "user: Hi", "\u2063 1 \u2063")


def plain(messages: tuple[Message, ...]) -> str:
    return "".join(f"<{one.role}>\n{one.content}</s>\n" for one in messages) + "<assistant>\n"


def trimmed(messages: tuple[Message, ...]) -> str:
    return "Be kind. " + "".join(f"[{one.role}] {one.content.strip()} [end]" for one in messages)


def without_thoughts(messages: tuple[Message, ...]) -> str:
    return "".join(f"<{one.role}>{one.content.split('</think>')[-1]}\n" for one in messages)


class Counted:
    def __init__(self, render: Render) -> None:
        self._render = render
        self.times = 0

    def __call__(self, messages: tuple[Message, ...]) -> str:
        self.times += 1
        return self._render(messages)


@pytest.mark.parametrize("render", [plain, trimmed])
@given(contents=st.lists(st.one_of(st.sampled_from(CONTENTS), st.text(max_size=9)), min_size=1, max_size=6))
def test_a_place_is_where_the_content_is(render: Callable[..., str], contents: list[str]) -> None:
    messages = tuple(Message(("user", "assistant")[n % 2], one) for n, one in enumerate(contents))
    counted = Counted(render)
    text = render(messages)

    places = content_places(text, messages, 0, counted)

    assert counted.times == 1
    for number, (place, message) in enumerate(zip(places, messages, strict=True)):
        content = message.content.strip() if render is trimmed else message.content
        assert text[place:].startswith(content)
        assert text[:place] == render((*messages[:number], message._replace(content="")))[:place]


def test_a_template_that_drops_a_part_is_asked_about_each_message() -> None:
    messages = (Message("user", "Why?"), Message("assistant", "<think>hm</think>So."), Message("user", "Ok"))
    text = without_thoughts(messages)

    assert content_places(text, messages, 1, without_thoughts) == [text.index("So."), text.index("Ok")]


def test_nothing_is_asked_of_messages_that_are_known() -> None:
    messages = (Message("user", "Hi"), Message("assistant", "Hello"))

    assert content_places(plain(messages), messages, 2, plain) == []
