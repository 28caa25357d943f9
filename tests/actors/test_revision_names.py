"""A revision is named by what is shown of it, and never taken for another one."""

from dataclasses import replace

import pytest

from populace.actors.errors import InvalidRequest
from populace.actors.revision_names import find_compared, find_revision
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


def test_what_answers_is_compared_with_what_it_came_from() -> None:
    child = replace(KNOWN[3], parent=KNOWN[5].digest)
    known = [child, KNOWN[5], KNOWN[7]]

    assert find_compared("ada", known, ALIASES) == (child.digest, KNOWN[5].digest)
    assert find_compared("ada", known, ALIASES, KNOWN[7].digest[:20]) == (KNOWN[7].digest, None)
    assert find_compared("ada", known, ALIASES, "base", "latest") == (None, child.digest)
    assert find_compared("ada", known, {}) == (None, None)
    with pytest.raises(RevisionNotFound):
        find_compared("ada", known, ALIASES, "latest", "canary")
