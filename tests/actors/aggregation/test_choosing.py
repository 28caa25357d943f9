"""Who answers is chosen by profiles alone, and whom nobody knows comes last."""

import numpy as np
import pytest

from populace.actors.aggregation.aggregator import accuracy_of, chosen_members
from populace.actors.aggregation.question import Question, Select
from populace.actors.engine import Message
from populace.actors.errors import PopulationTooSmall
from populace.actors.members import MemberView, Profile
from populace.actors.turn import ModelId

ASKED = (Message("user", "Which one?"),)
PROBES = "p" * 64
LABELS = np.array([0, 1, 2, 0, 1, 2])


def member(
    name: str, *says: int, revision: str = "r1", profiled: str = "r1", sure: float = 0.9
) -> MemberView:
    """One whose profile finds these choices likeliest; without any it has none."""
    profile = None
    if says:
        table = np.full((len(says), 3), (1 - sure) / 2)
        table[np.arange(len(says)), says] = sure
        accuracy = float((np.array(says) == LABELS).mean())
        profile = Profile("r1", PROBES, 3, np.log(table).astype("<f2").tobytes(), accuracy)
    return MemberView(ModelId("acme", name), "f" * 64, revision, "votes", 1, profile)


BEST = member("ada", 0, 1, 2, 0, 1, 0)
TWIN = member("bob", 0, 1, 2, 0, 1, 1)
OTHER = member("cyd", 1, 1, 0, 0, 2, 2)
NEW = member("dan")
STALE = member("eve", 0, 1, 2, 0, 1, 2, revision="r2")
ALL = [STALE, NEW, OTHER, TWIN, BEST]


def chosen(select: Select, k: int, seed: int = 0) -> list[str]:
    question = Question(ASKED, k=k, select=select, seed=seed)
    return [one.model.name for one in chosen_members(question, ALL, LABELS, PROBES)]


def test_the_best_are_those_who_are_right_most_and_of_equals_the_first() -> None:
    assert chosen("best", 3) == ["ada", "bob", "cyd"]


@pytest.mark.parametrize("select", ["diverse", "information"])
def test_one_who_errs_elsewhere_is_worth_more_than_a_twin(select: Select) -> None:
    assert chosen(select, 2) == ["ada", "cyd"]
    assert chosen(select, 3) == ["ada", "cyd", "bob"]


@pytest.mark.parametrize("select", ["diverse", "information", "best"])
def test_whom_nobody_knows_comes_last(select: Select) -> None:
    assert chosen(select, 5)[3:] == ["dan", "eve"], "a profile of another revision says nothing"
    assert accuracy_of(STALE, PROBES) is None
    assert accuracy_of(BEST, "q" * 64) is None


def test_chance_is_the_same_for_the_same_seed() -> None:
    assert chosen("random", 3) == chosen("random", 3)
    assert len({tuple(chosen("random", 3, seed)) for seed in range(10)}) > 3


def test_more_than_there_are_is_refused_by_name() -> None:
    with pytest.raises(PopulationTooSmall, match="6 members are to answer, and 5 take part"):
        chosen("best", 6)


def test_where_nobody_is_known_all_are_taken_by_name() -> None:
    question = Question(ASKED, k=2)
    unknown = [member("zoe"), member("amy"), member("max")]

    assert [one.model.name for one in chosen_members(question, unknown, LABELS, PROBES)] == ["amy", "max"]
