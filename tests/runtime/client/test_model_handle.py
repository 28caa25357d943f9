"""A turn is named by what is shown of it, and never taken for another one."""

import pytest

from populace.actors.errors import InvalidRequest
from populace.actors.turn import ModelId
from populace.client.async_model import turns_named

ADA = ModelId("default", "ada")


def test_turns_are_named_by_position_or_words() -> None:
    assert turns_named(ADA, 3) == [3]
    assert turns_named(ADA, [3, 5]) == [3, 5]
    assert turns_named(ADA, (5,)) == [5]
    assert turns_named(ADA, "my password") == "my password"


@pytest.mark.parametrize("what", [True, None, -1, 1.0, [1, "2"], [[1]], {1}, b"1"])
def test_what_names_no_turn_is_refused_by_name(what: object) -> None:
    with pytest.raises(InvalidRequest, match="by their positions or by words") as refused:
        turns_named(ADA, what)

    assert refused.value.parameter == "positions"
