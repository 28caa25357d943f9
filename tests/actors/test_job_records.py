"""A training job as its row has it, and as callers see it."""

from populace.actors.keepers.job_views import job_view
from populace.actors.training import JobProgress, TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from populace.storage.records.records import JobRecord

ADA = ModelId("acme", "ada")

OLD_RECORD = (
    b"\x92\x01\xde\x00\x13\xa6number\x03\xa9operation\xa7train-1\xa9body_hash\xc4\x04hash\xa7options"
    b'\xd9({"method": "sft", "rank": 4, "steps": 8}\xaacreated_ms\xcd\x03\xe8\xabsession_key\xc4\x03key'
    b"\xa5state\xa8promoted\xaastarted_ms\xcd\x07\xd0\xa8ended_ms\xcd\x0b\xb8\xa9log_range\x92\x00\x04"
    b"\xb1feedback_until_ms\xcd\x07\xd0\xa6parent\xc0\xa4step\x08\xa5steps\x08\xa4loss"
    b"\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa6tokensd\xa7seconds\xcb?\xf8\x00\x00\x00\x00\x00\x00\xa5curve"
    b"\x92\x92\x01\xcb@\x04\x00\x00\x00\x00\x00\x00\x92\x08\xcb?\xe0\x00\x00\x00\x00\x00\x00"
    b"\xa9candidate\xa2ab"
)
"""A job's row as the release before rewards wrote it: its progress is flat, and it has no ``reward``."""


def test_a_job_of_an_older_release_is_read_with_its_progress() -> None:
    record = JobRecord.unpack(OLD_RECORD)

    assert job_view(ADA, record) == TrainingJob(
        ADA,
        3,
        TrainingOptions(rank=4, steps=8),
        "promoted",
        "",
        1000,
        2000,
        3000,
        (0, 4),
        2000,
        progress=JobProgress(8, 8, 0.5, 100, 1.5, ((1, 2.5), (8, 0.5))),
        candidate="ab",
    )
    assert record.pack_given() == OLD_RECORD
