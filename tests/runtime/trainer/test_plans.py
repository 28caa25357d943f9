"""What a training says before its first step, of what it learns."""

from populace.trainer.plans import counted_lessons


def test_what_nobody_corrected_is_not_counted_as_a_correction() -> None:
    assert counted_lessons(10, 10) == ["10 replies to what was asked again"]
    assert counted_lessons(3, 1) == ["2 corrections", "1 reply to what was asked again"]
    assert counted_lessons(1, 0) == ["1 correction"]
    assert counted_lessons(0, 0) == []
