"""People train side by side as if each were alone, and a session goes on as if it had never stopped."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from populace.actors.errors import TrainingDiverged
from populace.actors.training_options import STARTS, Start
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import Loss, Objective, Scored, TrainSequence
from populace.learning.methods.sft import SupervisedObjective
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step
from populace.learning.session_file import _header, pack_session, unpack_session
from populace.storage.records.errors import RecordInvalid

pytestmark = pytest.mark.engine

FINGERPRINT = "f" * 64
PEOPLE = {"ada": 8, "bob": 2, "eve": 4}
"""Who has which rank."""

TOLERANCE = 2e-5
"""In float32: how far an adapter's numbers are from those it gets alone, after three steps beside others.

What differs is the order in which matrix products of another size add up.
"""


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, FINGERPRINT, dtype=torch.float32)


def begun(base: FrozenBase, name: str, start: Start = "uniform") -> TrainingSession:
    seed = list(PEOPLE).index(name)
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(PEOPLE[name]), start, seed=seed)
    return TrainingSession(name, adapter, StepOptions(steps=6, learning_rate=3e-3, seed=seed))


def batch(session: TrainingSession) -> SupervisedObjective:
    """What the session's next step reads, drawn from its own source."""
    source = session.source("batch")
    sequences = [
        TrainSequence(tuple(source.choices(range(10, 5_000), k=length)), (0.0, 0.0) + (1.0,) * (length - 2))
        for length in source.choices(range(4, 16), k=3)
    ]
    return SupervisedObjective(sequences)


def step(base: FrozenBase, *sessions: TrainingSession) -> list[StepReport]:
    reports = take_step(base, [(session, batch(session)) for session in sessions])
    return [report for report in reports if isinstance(report, StepReport)]


def numbers(session: TrainingSession) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in session.adapter.parameters()])


def test_people_of_other_ranks_in_one_step_become_what_they_become_alone(base: FrozenBase) -> None:
    together = [begun(base, name) for name in PEOPLE]
    alone = [begun(base, name) for name in PEOPLE]

    for _ in range(3):
        shared = step(base, *together)
        own = [step(base, session)[0] for session in alone]

        assert [one.loss for one in shared] == pytest.approx([one.loss for one in own], rel=1e-5)
        assert [one.gradient for one in shared] == pytest.approx([one.gradient for one in own], rel=1e-4)
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(numbers(one), numbers(other), atol=TOLERANCE)


def test_people_who_take_turns_become_what_they_become_alone_to_the_bit(base: FrozenBase) -> None:
    ada, bob = begun(base, "ada"), begun(base, "bob")
    for _ in range(3):
        step(base, ada)
        step(base, bob)

    for turns in (ada, bob):
        alone = begun(base, turns.name)
        for _ in range(3):
            step(base, alone)
        assert torch.equal(numbers(turns), numbers(alone))


@pytest.mark.parametrize("start", STARTS)
def test_a_session_goes_on_from_its_file_to_the_same_bits(base: FrozenBase, start: Start) -> None:
    whole, stopped = begun(base, "ada", start), begun(base, "ada", start)
    for _ in range(2):
        step(base, whole)
        step(base, stopped)

    resumed, told = unpack_session(pack_session(stopped, {"cursor": 7}))
    reports = [(step(base, whole), step(base, resumed)) for _ in range(2)]

    assert told == {"cursor": 7}
    assert resumed.name == "ada"
    assert all(one == other for one, other in reports)
    assert torch.equal(numbers(whole), numbers(resumed))
    assert pack_session(whole, {}) == pack_session(resumed, {})


def test_a_session_on_a_lower_revision_goes_on_to_the_same_bits_and_older_releases_refuse_it(
    base: FrozenBase,
) -> None:
    lower = begun(base, "eve")
    step(base, lower)

    def on_lower() -> TrainingSession:
        session = begun(base, "ada")
        session.adapter = session.adapter.on(lower.adapter, "d" * 64)
        return TrainingSession("ada", session.adapter, session.options)

    whole, stopped = on_lower(), on_lower()
    for _ in range(2):
        step(base, whole)
        step(base, stopped)
    data = pack_session(stopped, {})

    resumed, _ = unpack_session(data)
    reports = [(step(base, whole), step(base, resumed)) for _ in range(2)]

    assert resumed.adapter.lower == "d" * 64
    assert all(one == other for one, other in reports)
    assert pack_session(whole, {}) == pack_session(resumed, {})
    fingerprint, dtype = FINGERPRINT, torch.bfloat16
    assert whole.adapter.pack(fingerprint, dtype) == resumed.adapter.pack(fingerprint, dtype)
    assert (_header(data)["version"], _header(pack_session(begun(base, "ada"), {}))["version"]) == (2, 1)


def test_a_session_without_its_moments_would_not_go_on_to_the_same_bits(base: FrozenBase) -> None:
    whole = begun(base, "ada")
    step(base, whole)
    cold = TrainingSession("ada", unpack_session(pack_session(whole, {}))[0].adapter, whole.options)
    cold.step = whole.step

    step(base, whole)
    step(base, cold)

    assert not torch.equal(numbers(whole), numbers(cold))


def test_a_file_that_is_cut_off_or_of_another_kind_is_refused_by_name(base: FrozenBase) -> None:
    data = pack_session(begun(base, "bob"), {})

    for damaged in (
        b"",
        data[:-1],
        data[: len(data) // 2],
        b"{}" * 50,
        data.replace(b"populace-", b"populous-"),
    ):
        with pytest.raises(RecordInvalid, match="training session"):
            unpack_session(damaged)


class Broken(NamedTuple):
    """An objective whose loss is what it says."""

    sequences: Sequence[TrainSequence]
    value: float

    def loss(self, scored: Scored) -> Loss:
        return Loss(scored.target_log_probs.sum() * self.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_who_diverges_stays_as_they_were_and_disturbs_nobody(base: FrozenBase, value: float) -> None:
    ada, bob, alone = begun(base, "ada"), begun(base, "bob"), begun(base, "ada")
    before = numbers(bob).clone()
    parts: list[tuple[TrainingSession, Objective]] = [
        (ada, batch(ada)),
        (bob, Broken(batch(bob).sequences, value)),
    ]

    outcomes = take_step(base, parts)
    step(base, alone)

    assert isinstance(outcomes[0], StepReport)
    assert isinstance(outcomes[1], TrainingDiverged)
    assert "`bob`" in str(outcomes[1])
    assert "step 0" in str(outcomes[1])
    assert torch.equal(numbers(bob), before)
    assert bob.step == 0
    assert torch.allclose(numbers(ada), numbers(alone), atol=TOLERANCE)
    assert len(step(base, ada, bob)) == 2, "both can go on"


def test_training_lowers_the_loss_on_what_it_reads(base: FrozenBase) -> None:
    session = begun(base, "ada")
    objective = batch(session)

    losses = [
        outcome.loss
        for _ in range(6)
        for outcome in take_step(base, [(session, objective)])
        if isinstance(outcome, StepReport)
    ]

    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.1


def test_the_learning_rate_rises_and_then_falls_to_its_last_share() -> None:
    options = StepOptions(steps=100, learning_rate=1.0, warm_up=4, rate_last=0.1)

    rates = [options.rate(step) for step in range(101)]

    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates.index(max(rates)) == 4
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[100] == pytest.approx(0.1)
