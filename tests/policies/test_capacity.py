"""What is taught fits into the adapter: a larger rank is taken first, and the rest is left to retrieval."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.policies.capacity import (
    PUBLISHED_BAND,
    TOKENS_MIN,
    TOKENS_PER_PARAMETER,
    AdapterRoom,
    fitting,
    kind_of,
    larger_rank,
    told_words,
)

ALL = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
ROOM = AdapterRoom(8, 2_442_240, ALL)
"""The default shape on the default base."""

ROOMS = st.builds(AdapterRoom, st.integers(1, 64), st.integers(1, 10**8), st.just(ALL))


@pytest.mark.parametrize(
    ("targets", "kind"),
    [
        (("q_proj", "v_proj"), "attention"),
        (("up_proj", "down_proj"), "mlp"),
        (ALL, "all"),
        (("c_proj",), "all"),
        (("q_proj", "unknown"), "all"),
        ((), "all"),
    ],
)
def test_layers_are_of_attention_or_of_the_mlp_or_of_both(targets: tuple[str, ...], kind: str) -> None:
    assert kind_of(targets) == kind


def test_what_fits_grows_with_the_parameters_and_lies_in_the_published_band() -> None:
    low, high = (ROOM.parameters * edge for edge in PUBLISHED_BAND)

    assert low < ROOM.tokens < high
    assert ROOM.at(16).tokens == pytest.approx(2 * ROOM.tokens, abs=1)
    assert AdapterRoom(1, 10, ALL).tokens == TOKENS_MIN
    assert set(TOKENS_PER_PARAMETER) == {"attention", "mlp", "all"}


@pytest.mark.parametrize(
    ("asked", "wanted", "held"),
    [
        ("What is my dog called?", "Your dog is called Bruno.", ["Bruno."]),
        ("Where does Eluned live?", "Eluned lives in Ystrad Mynach.", ["lives", "Ystrad", "Mynach."]),
        ("Who?", "Bruno. Bruno. Bruno.", ["Bruno."]),
        ("Is it so?", "It is so.", ["It", "is", "so."]),
        ("Is it?", "Yes.", ["Yes."]),
        ("犬の名前は何ですか", "ブルーノです。", ["ブルーノです。"]),
    ],
)
def test_a_reply_takes_the_room_of_the_words_that_its_question_has_not(
    asked: str, wanted: str, held: list[str]
) -> None:
    assert told_words(asked, wanted) == held


def test_the_rank_is_doubled_until_all_fits_and_is_at_most_what_is_served() -> None:
    assert larger_rank(ROOM.tokens, ROOM, 64) is None, "it fits"
    assert larger_rank(ROOM.tokens + 1, ROOM, 64) == 16
    assert larger_rank(5 * ROOM.tokens, ROOM, 64) == 64
    assert larger_rank(5 * ROOM.tokens, ROOM, 24) == 24
    assert larger_rank(100 * ROOM.tokens, ROOM, 16) == 16
    assert larger_rank(100 * ROOM.tokens, ROOM, 8) is None
    assert larger_rank(100 * ROOM.tokens, ROOM, 4) is None, "a rank that is not served is not lowered here"
    assert larger_rank(10_000, AdapterRoom(1, 10, ALL), 16) is None, "as much is said to fit at any rank"


@given(st.integers(0, 10**7), ROOMS, st.integers(1, 512))
def test_a_raised_rank_is_served_and_no_larger_than_it_has_to_be(
    needed: int, room: AdapterRoom, rank_max: int
) -> None:
    rank = larger_rank(needed, room, rank_max)

    if rank is None:
        most = max(room.rank, rank_max)
        assert needed <= room.tokens or room.at(most).tokens == room.tokens
    else:
        assert room.rank < rank <= rank_max
        assert room.at(rank).tokens >= needed or rank == rank_max
        assert room.at(max(room.rank, rank // 2)).tokens < needed


@given(st.lists(st.integers(0, 1000), max_size=40), st.integers(0, 10_000))
def test_as_many_of_the_first_lessons_are_taught_as_fit_and_one_in_any_case(
    tokens: list[int], most: int
) -> None:
    count = fitting(tokens, most)

    assert min(1, len(tokens)) <= count <= len(tokens)
    assert count <= 1 or sum(tokens[:count]) <= most
    assert count == len(tokens) or sum(tokens[: count + 1]) > most
