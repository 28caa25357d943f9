"""What callers name revisions by: an alias, a digest or its beginning, or ``base``."""

from collections.abc import Mapping, Sequence

from populace.actors.errors import InvalidRequest
from populace.actors.hosts import Revision
from populace.actors.turn import BASE_REVISION
from populace.storage.records.errors import RevisionNotFound
from populace.storage.rows.ledger import FIRST_ALIAS


def named_revisions(
    name: str, known: Sequence[Revision], aliases: Mapping[str, str], one: str | None, other: str | None
) -> tuple[str | None, str | None]:
    """Find two revisions to compare and return their digests, None for the base.

    ``one`` None is what answers, ``other`` None is the parent of ``one``. Raises as ``find_revision``.
    """
    serving = FIRST_ALIAS if FIRST_ALIAS in aliases else BASE_REVISION
    chosen = find_revision(name, known, aliases, one or serving)
    against = chosen.parent if chosen is not None and other is None else None
    if other is not None:
        found = find_revision(name, known, aliases, other)
        against = None if found is None else found.digest
    return None if chosen is None else chosen.digest, against


def find_revision(
    name: str, known: Sequence[Revision], aliases: Mapping[str, str], reference: str
) -> Revision | None:
    """Find the revision under an alias, a digest or its beginning; None for the base, which is none.

    Raises ``RevisionNotFound``, and ``InvalidRequest`` for a beginning that several have.
    """
    if reference == BASE_REVISION:
        return None
    wanted = aliases.get(reference, reference)
    found = [revision for revision in known if revision.digest.startswith(wanted)]
    if not found or not wanted:
        raise RevisionNotFound(name, reference)
    if len(found) > 1:
        raise InvalidRequest(f"{len(found)} revisions of `{name}` begin with {reference}.", "revision")
    return found[0]
