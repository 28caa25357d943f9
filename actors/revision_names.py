"""The names of a revision for callers: an alias, a digest or a prefix of one, or ``base`` for none."""

from collections.abc import Mapping, Sequence

from populace.actors.errors import InvalidRequest
from populace.actors.hosts import Revision
from populace.actors.turn import BASE_REVISION
from populace.storage.records.errors import RevisionNotFound
from populace.storage.rows.ledger import FIRST_ALIAS


def find_revision(
    name: str, known: Sequence[Revision], aliases: Mapping[str, str], reference: str
) -> Revision | None:
    """Find the revision of an alias, a digest or a prefix of one; None for the base.

    Raises ``RevisionNotFound``, and ``InvalidRequest`` for a prefix of several digests.
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


def find_compared(
    name: str,
    known: Sequence[Revision],
    aliases: Mapping[str, str],
    first: str | None = None,
    second: str | None = None,
) -> tuple[str | None, str | None]:
    """Find the digests of two revisions to compare, None for the base.

    ``first`` None is the one that is served, ``second`` None the parent of the first. Raises as
    ``find_revision``.
    """
    serving = FIRST_ALIAS if FIRST_ALIAS in aliases else BASE_REVISION
    chosen = find_revision(name, known, aliases, serving if first is None else first)
    if second is not None:
        against = find_revision(name, known, aliases, second)
        return _digest_of(chosen), _digest_of(against)
    return _digest_of(chosen), None if chosen is None else chosen.parent


def _digest_of(revision: Revision | None) -> str | None:
    return None if revision is None else revision.digest
