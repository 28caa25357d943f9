"""The tree of a model's revisions says what each was made of, and how full it is."""

from typing import Any

from rich.console import Console

from populace.cli.lineage import history_tree

MADE: dict[str, Any] = {
    "id": "a" * 64,
    "method": "sft",
    "parent": None,
    "rank": 16,
    "bytes": 2_000_000,
    "created": 0,
    "sources": [],
    "lineage": {
        "hyper_parameters": {"steps": 8, "on": "b" * 64},
        "log_range": [0, 24],
        "tokens": 100,
        "seconds": 2.0,
        "scores": {"personal_share": 0.25},
        "objections": [],
    },
}


def test_a_revision_says_on_which_other_it_was_trained_and_how_much_of_its_own_part_is_kept() -> None:
    console = Console(width=200)

    with console.capture() as told:
        console.print(history_tree("ada", [MADE], {"latest": "a" * 64}))

    assert f"on {'b' * 12}, with 25 % of its own part" in told.get()


def test_a_revision_says_how_full_it_is_in_round_numbers_and_what_was_left() -> None:
    console = Console(width=200)
    scores = {"taught_tokens": 1893.0, "fitting_tokens": 2442.0, "left_to_retrieval": 1.0}
    full = {**MADE, "lineage": {**MADE["lineage"], "scores": scores}}
    whole = {**MADE, "lineage": {**MADE["lineage"], "scores": {**scores, "left_to_retrieval": 0.0}}}

    with console.capture() as told:
        console.print(history_tree("ada", [full], {}))
        console.print(history_tree("bob", [whole], {}))

    assert "holds about 1,900 of 2,400 tokens, 1 lesson left to retrieval\n" in told.get()
    assert "holds about 1,900 of 2,400 tokens\n" in told.get()


def test_replies_to_what_was_asked_again_are_not_called_corrections() -> None:
    console = Console(width=200)
    served = {"served_corrections": 10.0, "served_corrections_said": 9.0}
    asked = {
        "served_asked_again": 8.0,
        "served_asked_again_known": 7.0,
        "served_asked_again_known_parent": 2.0,
    }

    def shown(**scores: float) -> str:
        with console.capture() as told:
            console.print(
                history_tree("ada", [{**MADE, "lineage": {**MADE["lineage"], "scores": scores}}], {})
            )
        return told.get()

    assert "as served knows 7 of 8 things asked again, its parent 2\n" in shown(**asked)
    assert "correction" not in shown(**asked)
    assert "as served says 9 of 10 corrections\n" in shown(**served, **asked)
