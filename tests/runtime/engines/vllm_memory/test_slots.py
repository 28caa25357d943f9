"""The books of the memory inside vLLM, without vLLM."""

from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from populace.engines.vllm_memory.attached import RING, SlotTable
from populace.engines.vllm_memory.request import MemoryRequest


def request(
    key: str, *, writes: bool = True, spans: tuple[tuple[int, int], ...] = ((2, 6),)
) -> MemoryRequest:
    return MemoryRequest(key, None, True, writes, 8, spans if writes else ())


def test_the_last_states_are_kept_by_how_many_tokens_they_took_in() -> None:
    slot = SlotTable(1).open(request("a"))
    slot.begin(0)
    cells = {8: slot.advance(8)}
    for seen in range(9, 9 + 2 * RING):
        slot.begin(seen - 1)
        cells[seen] = slot.advance(1)

    newest = 8 + 2 * RING
    assert {seen: slot.kept[seen] for seen in range(newest - RING + 1, newest + 1)} == dict(
        list(cells.items())[-RING:]
    )
    assert newest - RING not in slot.kept
    assert len(set(slot.kept.values())) == RING


def test_a_preempted_request_begins_at_its_starting_state() -> None:
    slot = SlotTable(1).open(request("a"))
    slot.begin(0)
    slot.advance(8)
    slot.begin(8)
    slot.advance(1)
    slot.begin(0)

    assert slot.cell == slot.start_cell
    assert not slot.kept
    assert not slot.lost


def test_a_state_that_missed_tokens_is_never_given_out() -> None:
    slot = SlotTable(1).open(request("a"))
    slot.begin(0)
    slot.advance(4)
    slot.begin(6)

    assert slot.lost


def test_a_reader_may_begin_where_its_cached_prompt_ends() -> None:
    slot = SlotTable(1).open(request("a", writes=False))
    slot.begin(6)

    assert not slot.lost
    assert slot.cell == slot.start_cell


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("open"), st.integers(0, 30)),
            st.tuples(st.just("end"), st.sets(st.integers(0, 30))),
            st.tuples(st.just("close"), st.integers(0, 30)),
        )
    )
)
def test_no_two_requests_share_a_slot_and_none_is_lost(actions: list[tuple[str, object]]) -> None:
    table = SlotTable(4)
    running: set[str] = set()
    for action, argument in actions:
        if action == "open" and len(running) < 4 and table.get(str(argument)) is None:
            table.open(request(str(argument)))
            running.add(str(argument))
        elif action == "end":
            running -= {str(one) for one in cast("set[int]", argument)}
            table.end_others(running)
        elif action == "close" and str(argument) not in running:
            table.close(str(argument))
        table.check_integrity()
        assert all(table.get(key) is not None for key in running)


@given(
    start=st.integers(0, 20),
    length=st.integers(1, 20),
    spans=st.lists(st.integers(0, 12), min_size=2, max_size=6, unique=True).map(sorted),
)
def test_a_token_is_written_if_a_new_message_or_the_reply_has_it(
    start: int, length: int, spans: list[int]
) -> None:
    ranges = tuple(zip(spans[::2], spans[1::2], strict=False))
    one = MemoryRequest("a", None, True, True, 12, ranges)

    written = {token for first, last, _ in one.written(start, start + length) for token in range(first, last)}

    expected = {token for first, last in ranges for token in range(first, last)} | set(range(12, 60))
    assert written == expected & set(range(start, start + length))
    ends = [last for _, last, ends in one.written(start, start + length) if ends]
    assert ends == [last for _, last in ranges if start < last <= start + length]


def test_what_crosses_to_the_worker_comes_back_the_same() -> None:
    one = MemoryRequest("a", b"1234", True, True, 8, ((2, 6), (7, 8)))

    assert MemoryRequest.of(one.arguments()) == one
    assert MemoryRequest.of(None) is MemoryRequest.of({}) is None


def test_no_two_states_share_a_cache_and_no_writer_leaves_one() -> None:
    reader = MemoryRequest("a", b"1234", True, False, 8)

    assert reader.cache_salt("base") == reader._replace(key="b").cache_salt("base")
    others = [
        reader._replace(state=b"4321"),
        reader._replace(state=None),
        reader._replace(reads=False),
        reader._replace(writes=True),
        reader._replace(writes=True, key="b"),
    ]
    salts = {reader.cache_salt("base"), *(other.cache_salt("base") for other in others)}
    assert len(salts) == 1 + len(others)
