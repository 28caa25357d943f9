"""Stop strings in text that arrives in pieces, without a model."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from populace.engines.torch_batch import StopStrings

TEXT = st.text(alphabet="ab<|>", max_size=30)
STOPS = st.lists(st.text(alphabet="ab<|>", min_size=1, max_size=4), max_size=3).map(tuple)


def shown_in_pieces(pieces: list[str], stops: tuple[str, ...]) -> str:
    strings, shown = StopStrings(stops), ""
    for piece in pieces:
        text, stopped = strings.push(piece)
        shown += text
        if stopped:
            return shown
    return shown + strings.flush()


def test_text_that_may_become_a_stop_string_is_held_back() -> None:
    strings = StopStrings(("<end>",))

    assert strings.push("Hello <en") == ("Hello ", False)
    assert strings.push("d") == ("", False)
    assert strings.push("> more") == ("", True)


def test_held_back_text_is_shown_when_it_becomes_something_else() -> None:
    strings = StopStrings(("<end>",))

    assert strings.push("a <e") == ("a ", False)
    assert strings.push("q> b") == ("<eq> b", False)


def test_held_back_text_is_shown_at_the_end() -> None:
    strings = StopStrings(("<end>",))
    strings.push("a <e")

    assert strings.flush() == "<e"
    assert strings.flush() == ""


@given(text=TEXT, stops=STOPS, cuts=st.lists(st.integers(0, 30), max_size=5))
def test_nothing_before_a_stop_string_is_lost_and_no_stop_string_is_shown(
    text: str, stops: tuple[str, ...], cuts: list[int]
) -> None:
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[start:end] for start, end in itertools.pairwise(edges)]

    shown = shown_in_pieces(pieces, stops)

    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    if not any(stop in text for stop in stops):
        assert shown == text
    else:
        assert any(text[len(shown) :].startswith(stop) for stop in stops)


def test_an_included_stop_string_is_shown_and_nothing_after_it() -> None:
    assert StopStrings(("x", "<end>"), include=True).push("a <end> x") == ("a <end>", True)


def test_a_stop_string_that_is_whole_before_the_reply_may_stop_is_text() -> None:
    strings = StopStrings(("ab",))

    assert strings.push("ab a", may_stop=False) == ("ab ", False)
    assert strings.push("b", may_stop=True) == ("", True)
