"""Finds where in a rendered conversation each message's content begins, for any chat template."""

from collections.abc import Callable, Hashable, Sequence
from itertools import takewhile

from populace.actors.engine import Message

_MARK = "\u2063{}\u2063"  # invisible separators, which no template looks for

Render = Callable[[tuple[Message, ...]], str]


def content_places(text: str, messages: tuple[Message, ...], first: int, render: Render) -> list[int]:
    """Return the character at which the content of each message from ``first`` on begins in ``text``.

    The conversation is rendered once more with marks in place of the contents, which shows what the template
    writes between them. If the template changes a content other than by trimming it, each message is
    rendered with another content: its content begins at the first character that differs.
    """
    marks = [_MARK.format(index) for index in range(len(messages))]
    marked = render(
        tuple(message._replace(content=mark) for message, mark in zip(messages, marks, strict=True))
    )
    places = _between(text, messages, marked, marks)
    if places is not None:
        return places[first:]
    return [_changed_at(text, messages, index, render) for index in range(first, len(messages))]


def _between(text: str, messages: Sequence[Message], marked: str, marks: Sequence[str]) -> list[int] | None:
    """Find the places from the marked text; return None if the texts differ in more than the contents."""
    places: list[int] = []
    here = 0
    for message, mark in zip(messages, marks, strict=True):
        before, found, marked = marked.partition(mark)
        if not found or not text.startswith(before, here):
            return None
        here += len(before)
        places.append(here)
        after = marked.partition("\u2063")[0]
        for content in (message.content, message.content.strip()):
            if text.startswith(content + after, here):
                here += len(content)
                break
        else:
            return None
    return places if text[here:] == marked else None


def _changed_at(text: str, messages: tuple[Message, ...], index: int, render: Render) -> int:
    content = "1" if messages[index].content.lstrip().startswith("0") else "0"
    altered = (*messages[:index], messages[index]._replace(content=content), *messages[index + 1 :])
    return shared_beginning(text, render(altered))


def shared_beginning(*sequences: Sequence[Hashable]) -> int:
    """Return the length of the longest prefix that all sequences share."""
    alike = takewhile(lambda items: len(set(items)) == 1, zip(*sequences, strict=False))
    return sum(1 for _ in alike)
