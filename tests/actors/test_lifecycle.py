"""The table of transitions is the whole truth about an activation's life."""

import itertools

import pytest

from populace.actors.host.personal_model import TRANSITIONS, Lifecycle, Phase

DECLARED = [(before, after) for before, afters in TRANSITIONS.items() for after in sorted(afters, key=str)]
UNDECLARED = [pair for pair in itertools.product(Phase, Phase) if pair not in DECLARED]


def lifecycle_in(phase: Phase) -> Lifecycle:
    lifecycle = Lifecycle()
    if phase is not lifecycle.phase:
        lifecycle.move(phase)
    return lifecycle


def test_every_phase_has_a_row_and_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(Phase)
    assert {after for _, after in DECLARED} == set(Phase) - {Lifecycle().phase}


@pytest.mark.parametrize(("before", "after"), DECLARED)
def test_a_declared_transition_is_taken(before: Phase, after: Phase) -> None:
    lifecycle = lifecycle_in(before)

    lifecycle.move(after)

    assert lifecycle.phase is after


@pytest.mark.parametrize(("before", "after"), UNDECLARED)
def test_an_undeclared_transition_is_refused(before: Phase, after: Phase) -> None:
    lifecycle = lifecycle_in(before)

    with pytest.raises(AssertionError):
        lifecycle.move(after)

    assert lifecycle.phase is before
