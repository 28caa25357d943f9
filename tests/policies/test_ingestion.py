"""What of a conversation is new, however its client sends it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.policies.ingestion import (
    TURNS_KNOWN_MAX,
    brought_by,
    first_new,
    turn_digest,
    turn_parts,
    with_turn,
    without_turns,
)

Turn = tuple[str, str]

texts = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=8)


def said(turns: list[Turn]) -> list[tuple[str, str]]:
    return [message for user, reply in turns for message in (("user", user), ("assistant", reply))]


def known_after(turns: list[Turn]) -> tuple[bytes, ...]:
    """Digest each turn as a client that sends its whole history makes it."""
    known: tuple[bytes, ...] = ()
    for index, (user, reply) in enumerate(turns):
        messages = [*said(turns[:index]), ("user", user)]
        known = with_turn(known, turn_digest(messages, reply))
    return known


@given(turns=st.lists(st.tuples(texts, texts), max_size=6), question=texts)
def test_a_resent_history_is_not_new(turns: list[Turn], question: str) -> None:
    assert first_new([*said(turns), ("user", question)], known_after(turns)) == 2 * len(turns)


@given(turns=st.lists(st.tuples(texts, texts), min_size=2, max_size=6, unique=True), question=texts)
def test_a_history_whose_beginning_was_cut_off_is_not_new(turns: list[Turn], question: str) -> None:
    assert first_new([*said(turns[1:]), ("user", question)], known_after(turns)) == 2 * (len(turns) - 1)


@given(turns=st.lists(st.tuples(texts, texts), min_size=1, max_size=6, unique=True), question=texts)
def test_a_history_made_elsewhere_is_new(turns: list[Turn], question: str) -> None:
    assert first_new([*said(turns), ("user", question)], ()) == 0


def test_several_new_messages_after_a_known_turn_are_all_new() -> None:
    known = known_after([("hello", "hi")])

    assert first_new([("user", "hello"), ("assistant", "hi"), ("user", "a"), ("user", "b")], known) == 2


def test_an_edited_message_is_new_with_what_follows() -> None:
    turns = [("one", "1"), ("two", "2"), ("three", "3")]

    edited = [*said(turns[:1]), ("user", "too"), ("assistant", "2"), ("user", "three")]
    assert first_new(edited, known_after(turns)) == 2


def test_what_is_said_twice_is_written_twice() -> None:
    known = known_after([("my city is Rome", "fine"), ("my city is Oslo", "fine")])

    assert first_new([("user", "my city is Rome")], known) == 0


def test_system_messages_and_white_space_do_not_make_a_turn_new() -> None:
    first = [("system", "It is Monday."), ("user", "hello ")]
    known = (turn_digest(first, "hi\n"),)

    again = [("system", "It is Tuesday."), ("user", "hello"), ("assistant", "hi"), ("user", "so?")]
    assert first_new(again, known) == 3


def test_messages_are_told_apart_where_they_end() -> None:
    one = turn_digest([("user", "a"), ("user", "bc")], "d")
    other = turn_digest([("user", "ab"), ("user", "c")], "d")

    assert one != other


@given(st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=30))
def test_a_turn_that_comes_again_is_the_newest_and_known_once(digests: list[bytes]) -> None:
    known: tuple[bytes, ...] = ()
    for digest in digests:
        known = with_turn(known, digest)

    assert known[-1:] == tuple(digests[-1:])
    assert len(set(known)) == len(known)
    assert set(known) == set(digests)


def test_the_oldest_turns_are_forgotten() -> None:
    known: tuple[bytes, ...] = ()
    for number in range(TURNS_KNOWN_MAX + 3):
        known = with_turn(known, number.to_bytes(8, "big"))

    assert len(known) == TURNS_KNOWN_MAX
    assert known[0] == (3).to_bytes(8, "big")


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=8, unique=True), st.data())
def test_each_turn_of_a_client_that_sends_its_whole_history_is_brought_once(
    turns: list[Turn], data: st.DataObject
) -> None:
    """Some turns were had elsewhere: the next one here is the first to bring them, and no other is."""
    here = sorted(data.draw(st.sets(st.integers(0, len(turns) - 1), min_size=1)))
    log = [([*said(turns[:index]), ("user", turns[index][0])], turns[index][1]) for index in here]

    brought = brought_by(log)

    starts = [0, *(index + 1 for index in here)]
    for one, start, index in zip(brought, starts, here, strict=False):
        assert list(one.messages) == [*said(turns[start:index]), ("user", turns[index][0])]
        assert one.earlier == tuple(
            turn_digest([("user", text)], reply) for text, reply in turns[start:index]
        )


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=6, unique=True), st.data())
def test_turns_are_taken_out_and_system_messages_stay(turns: list[Turn], data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.sampled_from(turns)))
    messages = [("system", "Be brief."), *said(turns), ("user", "so?")]

    kept = without_turns(messages, {turn_digest([("user", text)], reply) for text, reply in gone})

    left = said([turn for turn in turns if turn not in gone])
    assert [messages[index] for index in kept] == [("system", "Be brief."), *left, ("user", "so?")]


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        ([("assistant", "Noted, Zoë."), ("user", "so?")], ["so?"]),
        ([("system", "x"), ("assistant", "Noted, Zoë."), ("user", "so?")], ["x", "so?"]),
        ([("user", "I am\nZoë."), ("user", "so?")], ["so?"]),
        ([("user", "I am\nZoë."), ("user", "so?"), ("assistant", "yes"), ("user", "and?")], None),
        ([("user", "I am\r\nZoë."), ("assistant", "Noted, Zoë."), ("user", "so?")], ["so?"]),
        ([("user", "I am\nZoe\u0308."), ("assistant", "Noted, Zoe\u0308."), ("user", "so?")], ["so?"]),
        ([("user", "so?"), ("user", "I am\nZoë.")], ["so?", "I am\nZoë."]),
        ([("user", "I am\nZoë."), ("assistant", "Who?"), ("user", "so?")], ["I am\nZoë.", "Who?", "so?"]),
    ],
)
def test_a_turn_is_taken_out_in_whatever_shape_it_is_sent_and_what_is_told_anew_stays(
    sent: list[Turn], left: list[str] | None
) -> None:
    gone = ([("user", "I am\nZoë.")], "Noted, Zoë.")
    forgotten = {turn_digest(*gone), *turn_parts(*gone)}

    kept = without_turns(sent, forgotten)

    assert [sent[index][1] for index in kept] == (left or ["so?", "yes", "and?"])


def test_a_turn_is_taken_out_behind_messages_that_nobody_answered() -> None:
    sent = [("user", "a"), ("user", "b"), ("assistant", "c"), ("user", "d")]

    assert without_turns(sent, {turn_digest(sent[1:2], "c")}) == [0, 3]
    assert without_turns(sent, {turn_digest((), "c")}) == [0, 1, 2, 3], "a reply alone is no turn"


def test_a_turn_that_began_with_a_part_of_another_is_known_with_it_and_without() -> None:
    sent = [("user", "a"), ("user", "b"), ("assistant", "c"), ("user", "d")]
    part = turn_parts([("user", "a")], "x")

    for turn in (sent[:2], sent[1:2]):
        assert without_turns(sent, {turn_digest(turn, "c"), *part}) == [3]
