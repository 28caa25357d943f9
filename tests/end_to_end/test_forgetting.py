"""A turn is forgotten through a running Populace: Ray, the engine, the store and its files."""

import uuid

import pytest

import populace
from populace.actors.errors import InvalidRequest
from populace.storage.records.errors import InteractionNotFound
from tests.end_to_end.served import Served
from tests.end_to_end.test_memory import TOLERANCE, memory_of, say

pytestmark = [pytest.mark.engine, pytest.mark.ray]


@pytest.fixture
def ada(served: Served) -> str:
    return served.create(f"ada-{uuid.uuid4().hex[:8]}")


def test_the_memory_is_folded_again_and_the_words_are_gone(served: Served, ada: str) -> None:
    say(served, ada, "My city is Lisbon.")
    before = memory_of(served, ada)["norms"]
    say(served, ada, "My password is swordfish-4711.")
    with populace.connect(data=served.data) as population:
        model = population.model(ada)
        found = model.forget("my password").found
        assert [turn.position for turn in found] == [1]
        for what in (True, "unicorn", 1.5):
            with pytest.raises(InvalidRequest):
                model.forget(what, confirm=True)  # pyright: ignore[reportArgumentType]
        with pytest.raises(InteractionNotFound):
            model.forget(7)

        told = model.forget(found[0])

        assert (told.positions, told.memory, told.position) == ((1,), "folded", 2)
        assert model.forget(1).already == (1,)
        assert [turn.forgotten for turn in model.log()] == [False, True, False]
    after = memory_of(served, ada)["norms"]
    spread = max(abs(one - other) for one, other in zip(before, after, strict=True))
    assert spread <= TOLERANCE * max(before)
    assert "swordfish" not in str(served.log_of(ada))


def test_the_command_forgets_what_it_is_told(served: Served, ada: str) -> None:
    say(served, ada, "My city is Lisbon.")

    done = served.run("-m", "populace", "model", "forget", ada, "0", "--yes")

    assert done.returncode == 0, done.stderr
    assert "Turn 0 was forgotten." in done.stdout
