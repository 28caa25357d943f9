"""Each set's rows and aims are of the right replies."""

from scripts.bench.recall.asking import alone
from scripts.bench.recall.general import MEMORY, Compared, general_table
from scripts.bench.recall.grading import Reply
from scripts.bench.recall.long_chat import Kept, long_chat_table
from scripts.bench.recall.never_told import Untold, never_told_table
from scripts.bench.recall.tables import Table
from scripts.bench.recall.tellings import Answered, tellings_table
from scripts.bench.recall.told_facts import Recalled, told_facts_table

WHOLE = Reply("The sea is salty.", (1, 2, 3, 4), "stop")
HALF = Reply("The sea is salty as", (1, 2), "stop")


def values(table: Table) -> dict[tuple[object, object], object]:
    return {(row["of"], row["measure"]): row["value"] for row in table.rows}


def met(table: Table) -> dict[str, bool]:
    return {aim.name: aim.met for aim in table.aims}


def test_general_replies_are_compared_one_by_one() -> None:
    same, other = Compared(alone("a"), WHOLE, WHOLE), Compared(alone("b"), WHOLE, HALF)

    table = general_table({MEMORY: [same, same, other, other]}, {MEMORY: [0.0, 0.0, 0.0, 0.4]})

    found = values(table)
    assert found[MEMORY, "same reply as the base"] == 50.0
    assert found[MEMORY, "broken off, the base's not"] == 50.0
    assert found[MEMORY, "length"] == 0.75
    assert found[MEMORY, "above the base's own reply"] == 0.1
    assert len(table.aims) == 4
    assert not any(met(table).values())


def test_a_memory_that_changes_nothing_meets_every_general_aim() -> None:
    table = general_table({MEMORY: [Compared(alone("a"), HALF, HALF)]}, {MEMORY: [0.0]})

    assert all(met(table).values())


def test_facts_are_told_apart_by_their_values_and_their_number() -> None:
    recalled = [
        *[Recalled("new combinations", 3, right=number < 9, denied=number == 9) for number in range(10)],
        *[Recalled("any words, never seen", 10, right=number < 5, denied=False) for number in range(10)],
    ]

    table = told_facts_table(recalled)

    assert values(table)["new combinations, 3", "recalled"] == 90.0
    assert met(table) == {
        "three facts recalled, new combinations": True,
        "ten facts recalled": False,
        "three facts told, but denied": False,
    }


def test_questions_that_silence_answers_are_reported_apart() -> None:
    plain = Answered("plain", "named", True, True, False, False, None)
    used = Answered("negative", "used", True, False, False, False, True)
    silent = Answered("negative", "used", False, True, False, False, True)

    table = tellings_table([plain, plain, plain, used, silent])

    found = values(table)
    assert found["all", "recalled"] == 75.0
    assert found["asked used", "right without a memory"] == 100.0
    assert found["only to be avoided", "right"] == 100.0
    assert met(table)["hand-written tellings recalled"]


def test_what_is_kept_is_of_what_was_recalled_at_once() -> None:
    kept = [Kept("generated", 3, {0: 3, 20: 3, 200: 2}), Kept("hand-written", 2, {0: 1, 20: 1, 200: 1})]

    table = long_chat_table(kept)

    found = values(table)
    assert found["generated, after 0 turns", "recalled"] == 100.0
    assert found["hand-written, after 200 turns", "recalled"] == 50.0
    assert found["all, after 200 turns", "of what was at once"] == 75.0
    assert met(table) == {"recalled after 200 turns, of at once": False}


def test_admissions_are_reported_beside_those_of_the_base() -> None:
    table = never_told_table([Untold(memory=True, base=False)] * 4 + [Untold(memory=False, base=True)])

    assert [row["value"] for row in table.rows] == [80.0, 20.0]
    assert met(table) == {"never told, admitted": True}


def test_a_set_that_was_not_measured_has_no_rows() -> None:
    tables = [
        general_table({}, {}),
        told_facts_table([]),
        tellings_table([]),
        long_chat_table([]),
        never_told_table([]),
    ]

    assert [(table.rows, table.aims) for table in tables] == [([], [])] * 5
