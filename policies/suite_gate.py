"""Whether a candidate still answers the questions of its person's own suite that were answered before."""

from collections.abc import Collection, Sequence

from populace.policies.quoted_words import listed


def suite_objection(before: Sequence[str], candidate: Collection[str]) -> str | None:
    """Say which questions are no longer answered; None if all that were passed ``before`` still are.

    Both have the questions that are passed, each by its own words.
    """
    lost = [question for question in before if question not in candidate]
    return f"it no longer answers {listed(lost)} as the suite wants" if lost else None
