"""What was sampled comes back as it was learned from, or by name not at all."""

import pytest

from populace.actors.engine import Message
from populace.actors.errors import NothingToTrain, TrainingFailed
from populace.learning.on_policy.record import GivenReply, Group, RolloutRecord, Round
from populace.learning.rollouts import Rollout
from populace.storage.records.errors import RecordInvalid

REPLY = Rollout((), "", (5, 7), (-0.1, -1 / 3), "r" * 64, 0, finished=True, reward=0.1 + 0.2)


def record() -> RolloutRecord:
    made = RolloutRecord(tasks="[]")
    made.add(0, Round("r" * 64, 2, [Group(3, [REPLY, REPLY._replace(reward=None)])]))
    made.add(2, Round("s" * 64, 0, ()))
    made.judged("p" * 64, [1 / 3, 0.0])
    return made


def test_a_record_comes_back_with_the_same_numbers() -> None:
    packed = record().pack()
    replay = RolloutRecord.unpack(packed, replays=True)

    assert replay.round("ada", 0, "r" * 64) == Round(
        "r" * 64, 2, [Group(3, [REPLY, REPLY._replace(reward=None)])]
    )
    assert (replay.tasks, replay.rewards("p" * 64), replay.rewards("q" * 64)) == ("[]", [1 / 3, 0.0], None)
    assert [step for step in range(4) if replay.begins(step)] == [0, 2]
    replay.add(1, Round("r" * 64, 0, ()))
    replay.judged("q" * 64, [1.0])
    assert replay.pack() == packed, "a replay adds nothing"


def test_replies_to_prompts_come_back_by_who_gave_them() -> None:
    prompt, said = (Message("user", "Who is Bruno?"),), GivenReply("Your dog.", True)
    made = record()
    assert not made.has_given
    made.give("ada", prompt, said)

    again = RolloutRecord.unpack(made.pack())

    assert again.has_given
    assert again.given("ada", prompt) == said
    assert again.given("bob", prompt) is None
    assert again.given("ada", (*prompt, *prompt)) is None


def test_the_memory_that_was_read_comes_back_and_one_of_before_had_none() -> None:
    made = record()
    assert made.memory is None
    assert not made.is_needed
    made.memory = b"\x00state"

    again = RolloutRecord.unpack(made.pack())

    assert again.memory == b"\x00state"
    assert again.is_needed
    assert RolloutRecord.unpack(record().pack()).memory == b""


def test_who_records_begins_rounds_and_judges_by_themselves() -> None:
    made = RolloutRecord.unpack(record().pack())

    assert not made.begins(0)
    assert made.rewards("p" * 64) is None


def test_the_end_of_the_training_is_replayed_and_other_weights_are_refused() -> None:
    replay = RolloutRecord.unpack(record().pack(), replays=True)

    with pytest.raises(NothingToTrain, match="ended at step 2"):
        replay.round("ada", 2, "s" * 64)
    for step, revision in ((0, "s" * 64), (1, "r" * 64)):
        with pytest.raises(TrainingFailed, match=f"at step {step} its weights are not those"):
            replay.round("ada", step, revision)


@pytest.mark.parametrize("data", [b"no record", record().pack()[:-3]])
def test_a_damaged_record_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(RecordInvalid, match="damaged"):
        RolloutRecord.unpack(data)
    assert RolloutRecord.unpack(b"").tasks == ""
