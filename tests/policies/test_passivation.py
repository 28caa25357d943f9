"""The longest idle leave first, and nobody is listed who is not idle."""

from hypothesis import given
from hypothesis import strategies as st

from populace.policies.passivation import IdleQueue

keys = st.sampled_from("abcdef")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), keys),
        st.tuples(st.just("discard"), keys),
        st.tuples(st.just("wait"), st.integers(0, 5)),
    ),
    max_size=60,
)


def played(steps: list[tuple[str, str | int]]) -> tuple[IdleQueue[str], dict[str, int], int]:
    """Play the steps on a queue and on a dict in insertion order; answer both and the time."""
    queue, expected, now = IdleQueue[str](), dict[str, int](), 0
    for verb, subject in steps:
        if isinstance(subject, int):
            now += subject
        elif verb == "add":
            queue.add(subject, float(now))
            expected.pop(subject, None)
            expected[subject] = now
        else:
            queue.discard(subject)
            expected.pop(subject, None)
    return queue, expected, now


@given(steps)
def test_a_queue_lists_the_idle_by_the_time_they_became_so(steps: list[tuple[str, str | int]]) -> None:
    queue, expected, _ = played(steps)

    left: list[str] = []
    while (key := queue.longest_idle()) is not None:
        left.append(key)
        queue.discard(key)

    assert left == list(expected)
    assert len(queue) == 0


@given(steps, st.integers(0, 20))
def test_exactly_those_idle_for_long_enough_leave(steps: list[tuple[str, str | int]], seconds: int) -> None:
    queue, expected, now = played(steps)

    left: list[str] = []
    for key in queue.idle_longer_than(float(seconds), float(now)):
        left.append(key)
        queue.discard(key)

    assert left == [key for key, since in expected.items() if now - since >= seconds]
    assert len(queue) == len(expected) - len(left)
    assert all((key in queue) == (key not in left) for key in expected)


@given(steps)
def test_a_walk_ends_although_nobody_leaves(steps: list[tuple[str, str | int]]) -> None:
    queue, expected, now = played(steps)

    assert list(queue.idle_longer_than(0.0, float(now))) == list(expected)[:1]
