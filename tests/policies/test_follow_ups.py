"""What says nothing without what was said before it, and what does."""

import pytest

from populace.policies.follow_ups import follows_up


@pytest.mark.parametrize(
    "text",
    [
        *("Yes.", "yes please", "and now?", "Which one?", "continue", "Tell me more.", "What is it called?"),
        *("Really?", "no, the other one", "Go on, please.", "Why?", "weiter", "ja bitte", "続けて", "👍"),
    ],
)
def test_what_goes_on_with_what_was_said(text: str) -> None:
    assert follows_up(text)


@pytest.mark.parametrize(
    "text",
    [
        *("Who am I?", "Who are you?", "How are you?", "Hello", "What is my dog called?", "my dog", "2+2"),
        *("Capital of Peru?", "What time is it?", "And the cat?", "Wie heißt mein Hund?", "もっと教えて"),
    ],
)
def test_what_says_something_by_itself(text: str) -> None:
    assert not follows_up(text)
