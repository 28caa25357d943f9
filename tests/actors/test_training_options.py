"""Epochs become steps, of which a training has a limit whichever way they are asked for."""

import pytest

from populace.actors.errors import InvalidRequest
from populace.actors.training_options import STEPS_MAX, steps_of


def test_epochs_of_too_many_steps_are_refused() -> None:
    assert (steps_of(3, 8, 1.0), steps_of(16, 8, 2.0), steps_of(17, 8, 1.0)) == (1, 4, 3)
    assert steps_of(STEPS_MAX, 1, 1.0) == STEPS_MAX
    with pytest.raises(
        InvalidRequest, match=r"10000 epochs of 50,000 examples .* 500,000,000 steps"
    ) as raised:
        steps_of(50_000, 1, 10_000.0)
    assert raised.value.parameter == "epochs"
