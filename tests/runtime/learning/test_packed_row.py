"""A row has what sequences begin with alike once, and finds each sequence again."""

from hypothesis import given
from hypothesis import strategies as st

from populace.learning.methods.objective import TrainSequence
from populace.learning.packed_row import PackedRow, Reading

SEQUENCES = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 1.0])), min_size=1, max_size=6).map(
        lambda tokens: TrainSequence(tuple(id_ for id_, _ in tokens), tuple(weight for _, weight in tokens))
    ),
    min_size=1,
    max_size=5,
)


@given(st.lists(SEQUENCES, min_size=1, max_size=3))
def test_each_sequence_is_on_its_path_and_what_begins_alike_is_there_once(
    of_readings: list[list[TrainSequence]],
) -> None:
    row = PackedRow.of([Reading(None, sequences) for sequences in of_readings])
    sequences = [one for of_one in of_readings for one in of_one]

    assert [tuple(row.ids[place] for place in path) for path in row.paths] == [one.ids for one in sequences]
    assert all([row.positions[at] for at in path] == list(range(len(path))) for path in row.paths)
    for span, of_one in zip(row.spans, of_readings, strict=True):
        assert span.stop - span.start == len(
            {one.ids[:end] for one in of_one for end in range(1, len(one.ids) + 1)}
        )
    assert [span.start for span in row.spans[1:]] == [span.stop for span in row.spans[:-1]]
    assert row.spans[-1].stop == len(row.ids)
    scored = [
        (path[at - 1], one.ids[at])
        for path, one in zip(row.paths, sequences, strict=True)
        for at in one.scored
    ]
    assert list(zip(row.places, row.targets, strict=True)) == scored
    assert row.counts == [tuple(len(one.scored) for one in of_one) for of_one in of_readings]
    assert row.lengths == [tuple(len(one.ids) for one in of_one) for of_one in of_readings]
