"""People with generated facts, whose values come from lists or from all words of a base's vocabulary."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from examples.memory_module.episodes import Episode, Question
from examples.memory_module.facts import FactsOptions, fact_episodes
from examples.memory_module.phrases import ANSWER, ATTRIBUTES, filled
from examples.memory_module.values import Part

FIRST_SEED = 10_000
"""The first of the seeds that no training corpus uses."""

TRAINED, UNSEEN, ANY_WORDS = "new combinations", "values never seen", "any words, never seen"
TITLES = (TRAINED, UNSEEN, ANY_WORDS)


class Kind(NamedTuple):
    """A kind of generated facts: its title in the tables, and how episodes of it are drawn."""

    title: str
    part: Part
    options: FactsOptions


def told_options(facts: int) -> FactsOptions:
    """Return options of episodes that tell ``facts`` facts, ask for each, and contain nothing else."""
    return FactsOptions(
        facts_min=facts,
        facts_max=facts,
        open_share=0.0,
        open_attribute_share=0.0,
        chatter_share=0.0,
        change_share=0.0,
        not_told_share=0.0,
        general_share=0.0,
    )


def kinds(facts: int) -> tuple[Kind, ...]:
    """Return the kinds: values of the training corpus, unseen values of its lists, and any words."""
    return (
        Kind(TRAINED, "train", told_options(facts)),
        Kind(UNSEEN, "held-out", told_options(facts)),
        Kind(ANY_WORDS, "held-out", replace(told_options(facts), open_share=1.0)),
    )


def told_episodes(words: Sequence[str], kind: Kind, count: int, seed: int) -> list[Episode]:
    """Draw ``count`` people of a kind, each with a question for every fact; the same for the same seed."""
    return list(
        itertools.islice(fact_episodes(words, kind.part, seed=FIRST_SEED + seed, options=kind.options), count)
    )


def attribute_of(question: Question) -> str:
    """Return which of ``ATTRIBUTES`` a question of such an episode asks for."""
    value = question.value or ""
    return next(name for name in ATTRIBUTES if question.answer == filled(ANSWER, name, value))
