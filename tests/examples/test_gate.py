"""What the study of the gate plants is what it says, and each objection has a name."""

import gate
import pytest
from planted.damage import DAMAGES
from planted.people import OLD_FACTS, Person, people_of
from planted.requests import REQUESTS

from populace.learning.examples import examples_of
from populace.learning.general_requests import JUDGED, KEPT
from populace.policies.evaluation_gate import Corrections, Evaluation, GateRule, GeneralReplies, verdict
from populace.policies.served_gate import Learned, Served, ServedReplies

BASE = "f" * 64


@pytest.fixture
def people() -> list[Person]:
    return people_of(2, REQUESTS, [f"Sentence {number}. And more." for number in range(len(REQUESTS))])


def test_the_requests_are_no_others_and_the_people_have_other_facts(people: list[Person]) -> None:
    assert len(set(REQUESTS)) == len(REQUESTS)
    assert set(REQUESTS).isdisjoint({*JUDGED, *KEPT}), set(REQUESTS) & {*JUDGED, *KEPT}
    one, other = people
    assert not set(one.facts) & set(other.facts)
    assert one.style != other.style


def test_a_person_likes_the_own_style_and_what_is_held_out_is_in_no_damage(people: list[Person]) -> None:
    one, other = people
    log, feedback = one.log(BASE, is_first=False)
    examples = examples_of(log, feedback)
    held_out = {example.prompt[-1].content for example in examples if example.is_held_out}
    styled = held_out & set(REQUESTS)

    assert len(styled) >= 4
    assert {one.requests[number] for number in one.learned()} == set(REQUESTS) - styled
    for damage in DAMAGES.values():
        taught = damage(one, other)
        assert not {ask for ask, _ in taught} & styled
        assert not {reply for _, reply in taught} & {turn.reply for turn in log}
    assert len(one.log(BASE, is_first=True)[0]) == OLD_FACTS
    assert [question.ask for question in one.suite] == [fact.ask for fact in one.facts[:OLD_FACTS]]


def test_each_objection_of_the_gate_has_a_name() -> None:
    replies = ServedReplies(20.0, 20.0, 90.0, 0, 4, 0, 4, [0.9, 0.9, 0.9, 0.8], [0.1] * 4)
    bad = Evaluation(
        parent=[1.0, 1.1],
        candidate=[2.0, 2.1],
        probe_kl=1.0,
        probe_base=1.0,
        probe_candidate=2.0,
        corrections=Corrections(1, 0, ("?",), alone=True),
        general=GeneralReplies(90.0, 10.0, 0.0, 1.0, 0.5, 2.0, ("?",)),
        suite_total=1,
        suite_parent=["?"],
        served=Served(1, ("?",), Learned([0.5], [0.1]), replies),
    )
    judged = [verdict(bad, GateRule()), verdict(bad._replace(corrections=None), GateRule())]

    named = {gate.objection_of(objection) for one in judged for objection in one.objections}
    assert named == set(gate.OBJECTIONS.values())
    assert gate.objection_of("something else") == "another"
