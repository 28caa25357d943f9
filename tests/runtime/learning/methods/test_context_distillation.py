# pyright: reportUnknownMemberType=false
# tolist is untyped.
import math

import pytest
import torch

from populace.learning.methods.context_distillation import (
    ExactDistillation,
    SampledDistillation,
    distillation_sequence,
)
from tests.runtime.learning.methods.scoring import gradient_of, scored


def test_the_student_reads_the_query_and_its_reply_alone() -> None:
    sequence = distillation_sequence([4, 5], [6, 7])

    assert sequence.ids == (4, 5, 6, 7)
    assert sequence.scored == (2, 3)


def test_a_sampled_token_is_rewarded_by_how_much_likelier_the_teacher_finds_it() -> None:
    passed = scored([[0.5, 0.5], [0.8, 0.2]], [0, 0], [2])
    sampler, teacher = [math.log(0.4), math.log(0.8)], [math.log(0.6), math.log(0.4)]

    loss = SampledDistillation([distillation_sequence([1], [0, 0])], sampler, teacher).loss(passed)

    first, second = 0.5 / 0.4 * math.log(0.6 / 0.4), math.log(0.4 / 0.8)
    assert loss.value.item() == pytest.approx(-(first + second) / 2)
    assert gradient_of(loss.value, passed)[:, 0].tolist() == pytest.approx([-first / 2, -second / 2])
    assert loss.metrics["reverse_kl"] == pytest.approx(-(math.log(0.6 / 0.4) + second) / 2)


def test_a_teacher_that_finds_a_token_impossible_has_a_bounded_say() -> None:
    passed = scored([[0.5, 0.5]], [0], [1])
    sampler, teacher = [math.log(0.5)], [-40.0]

    loss = SampledDistillation([distillation_sequence([1], [0])], sampler, teacher, advantage_max=2.0).loss(
        passed
    )

    assert gradient_of(loss.value, passed)[0, 0].item() == pytest.approx(2.0)


def test_the_exact_form_over_all_tokens_is_the_divergence_of_student_and_teacher() -> None:
    student, teacher = [0.7, 0.2, 0.1], [0.3, 0.3, 0.4]
    passed = scored([student], [0], [1])

    loss = ExactDistillation([distillation_sequence([1], [0])], torch.tensor([teacher]).log(), top=3).loss(
        passed
    )

    divergence = sum(s * math.log(s / q) for s, q in zip(student, teacher, strict=True))
    assert loss.value.item() == pytest.approx(divergence)


def test_the_exact_form_takes_all_but_the_students_likeliest_tokens_for_one() -> None:
    passed = scored([[0.6, 0.2, 0.15, 0.05]], [2], [1])

    loss = ExactDistillation(
        [distillation_sequence([1], [2])], torch.tensor([[0.3, 0.3, 0.1, 0.3]]).log(), top=2
    ).loss(passed)

    likeliest = 0.6 * math.log(0.6 / 0.3) + 0.2 * math.log(0.2 / 0.3)
    assert loss.value.item() == pytest.approx(likeliest + 0.2 * math.log(0.2 / 0.4))
    assert gradient_of(loss.value, passed)[0, 2:].tolist() == [0, 0]


def test_the_other_direction_wants_a_token_for_as_much_as_the_teacher_does() -> None:
    passed = scored([[0.7, 0.2, 0.1]], [0], [1])
    teacher = torch.tensor([[0.3, 0.3, 0.4]])

    loss = ExactDistillation([distillation_sequence([1], [0])], teacher.log(), top=3, forward=1.0).loss(
        passed
    )

    expected = sum(q * math.log(q / s) for s, q in zip([0.7, 0.2, 0.1], [0.3, 0.3, 0.4], strict=True))
    assert loss.value.item() == pytest.approx(expected)
    assert loss.metrics["forward_kl"] == pytest.approx(expected)
    assert gradient_of(loss.value, passed)[0].tolist() == pytest.approx([-0.3, -0.3, -0.4])


def test_the_exact_form_is_never_below_nothing() -> None:
    passed = scored([[0.3, 0.2, 0.5]], [0], [1])

    for teacher in ([0.3, 0.2, 0.5], [0.5, 0.45, 0.05], [0.1, 0.1, 0.8]):
        loss = ExactDistillation(
            [distillation_sequence([1], [0])], torch.tensor([teacher]).log(), top=1
        ).loss(passed)
        assert loss.value.item() >= -1e-6
