"""As much of the newest history as fits, and never a turn without the ones after it."""

from hypothesis import given
from hypothesis import strategies as st

from populace.policies.history import (
    CHARACTERS_PER_TOKEN,
    is_same_conversation,
    newest_exchanges,
    turns_that_fit,
    with_history,
    with_their_calls,
)

lengths = st.lists(st.integers(0, 500), max_size=30)
tokens = st.integers(0, 500)


def test_the_newest_turns_are_kept() -> None:
    assert turns_that_fit([300, 3000, 150, 150], tokens_max=100) == 2


def test_a_turn_that_does_not_fit_ends_the_history() -> None:
    assert turns_that_fit([1, 301], tokens_max=100) == 0


@given(lengths, tokens)
def test_what_is_kept_fits_and_one_more_would_not(lengths: list[int], tokens_max: int) -> None:
    kept = turns_that_fit(lengths, tokens_max)

    budget = tokens_max * CHARACTERS_PER_TOKEN
    assert sum(lengths[len(lengths) - kept :]) <= budget
    assert kept == len(lengths) or sum(lengths[len(lengths) - kept - 1 :]) > budget


def test_an_id_names_one_conversation_whatever_its_model_is_called() -> None:
    place = "_1f_0123456789abcdef"

    assert is_same_conversation(f"conv_ada{place}", f"conv_eve-2_0{place}")
    assert is_same_conversation("main", "main")
    assert is_same_conversation(None, None)
    for other in ("conv_ada_1e_0123456789abcdef", "conv_ada_1f_0123456789abcdee", place, "main", None):
        assert not is_same_conversation(f"conv_ada{place}", other)


def test_earlier_turns_come_after_the_instructions_of_a_turn() -> None:
    assert with_history([["a", "b"], ["c"]], ["be brief", "d"], 1) == ["be brief", "a", "b", "c", "d"]
    assert with_history([], ["d"], 0) == ["d"]


CHAT = [
    ("system", "s" * 50),
    ("assistant", "welcome"),
    ("user", "one"),
    ("user", "two"),
    ("assistant", "call"),
    ("tool", "result"),
    ("system", "date"),
    ("assistant", "three"),
    ("user", "four"),
]
"""Three exchanges, of 7, 21 and 4 characters without the system messages."""


def test_the_oldest_exchanges_go_whole_and_the_system_messages_and_the_last_one_stay() -> None:
    system = [CHAT[0], CHAT[6]]

    assert newest_exchanges(CHAT, 32) == CHAT
    assert newest_exchanges(CHAT, 31) == newest_exchanges(CHAT, 25) == [CHAT[0], *CHAT[2:]]
    assert newest_exchanges(CHAT, 24) == newest_exchanges(CHAT, 0) == [*system, CHAT[8]]
    assert newest_exchanges(system, 0) == system
    assert newest_exchanges([], 0) == []


roles = st.sampled_from(["system", "user", "assistant", "tool"])


@given(st.lists(st.tuples(roles, st.text(max_size=5))), st.integers(0, 40))
def test_what_is_left_of_a_chat_is_its_end_and_no_result_lacks_its_call(
    chat: list[tuple[str, str]], characters_max: int
) -> None:
    left = newest_exchanges(chat, characters_max)

    def spoken(messages: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [message for message in messages if message[0] != "system"]

    assert spoken(left) == spoken(chat)[len(spoken(chat)) - len(spoken(left)) :]
    assert [message for message in left if message[0] == "system"] == [
        message for message in chat if message[0] == "system"
    ]
    if len(left) < len(chat):
        assert spoken(left)[0][0] == "user"
    assert newest_exchanges(left, characters_max) == left


def test_a_turn_goes_with_the_one_whose_calls_its_results_answer() -> None:
    assert with_their_calls(1, [False, True, False]) == 0
    assert with_their_calls(0, [False, False, True, True]) == 2


@given(st.integers(0, 9), st.lists(st.booleans(), min_size=1, max_size=9))
def test_a_prompt_begins_with_no_result_if_it_can(count: int, continues: list[bool]) -> None:
    kept = with_their_calls(count, continues)

    def is_whole(turns: int) -> bool:
        return not continues[len(continues) - 1 - turns]

    possible = [turns for turns in range(len(continues)) if is_whole(turns)]
    assert is_whole(kept) or not possible
    assert kept == max((turns for turns in possible if turns <= count), default=min(possible, default=kept))
