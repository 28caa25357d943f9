"""A revision is named by what is shown of it, and never taken for another one."""

import pytest

from populace.actors.errors import InvalidRequest
from populace.client.async_model import turns_named
from populace.client.revisions import find_revision
from populace.storage.records.errors import RevisionNotFound
from tests.actors.turns import revision

KNOWN = [revision(f"seed {number}") for number in range(40)]
ALIASES = {"latest": KNOWN[3].digest}


@pytest.mark.parametrize("reference", ["latest", KNOWN[3].digest, KNOWN[3].digest[:12]])
def test_a_revision_is_found_by_alias_digest_and_its_beginning(reference: str) -> None:
    assert find_revision("ada", KNOWN, ALIASES, reference) == KNOWN[3]


def test_the_base_is_no_revision() -> None:
    assert find_revision("ada", KNOWN, ALIASES, "base") is None


@pytest.mark.parametrize("reference", ["canary", "f" * 64, ""])
def test_what_names_none_is_refused(reference: str) -> None:
    with pytest.raises(RevisionNotFound):
        find_revision("ada", KNOWN, ALIASES, reference)


def test_a_beginning_of_several_is_refused() -> None:
    shared = next(
        one.digest[0] for one in KNOWN if sum(other.digest[0] == one.digest[0] for other in KNOWN) > 1
    )

    with pytest.raises(InvalidRequest, match=f"begin with {shared}"):
        find_revision("ada", KNOWN, ALIASES, shared)


def test_turns_are_named_by_position_or_words() -> None:
    assert turns_named(3) == [3]
    assert turns_named([3, 5]) == [3, 5]
    assert turns_named((5,)) == [5]
    assert turns_named("my password") == "my password"


@pytest.mark.parametrize("what", [True, None, -1, 1.0, [1, "2"], [[1]], {1}, b"1"])
def test_what_names_no_turn_is_refused_by_name(what: object) -> None:
    with pytest.raises(InvalidRequest, match="by their positions or by words") as refused:
        turns_named(what)

    assert refused.value.parameter == "positions"
