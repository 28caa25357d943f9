"""People with generated facts, of values from lists and of all words of a base."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from populace.module_training.episodes import Episode, Question
from populace.module_training.facts import FactsOptions, fact_episodes
from populace.module_training.phrases import ANSWER, ATTRIBUTES, filled
from populace.module_training.values import Part

FIRST_SEED = 10_000
"""No corpus that is trained on has one of these."""

TRAINED, UNSEEN, ANY_WORDS = "new combinations", "values never seen", "any words, never seen"
TITLES = (TRAINED, UNSEEN, ANY_WORDS)


class Kind(NamedTuple):
    """What the facts of some people are made of."""

    title: str
    part: Part
    options: FactsOptions


def told_options(facts: int) -> FactsOptions:
    """Options of episodes in which so many facts are told and asked for, and nothing else is said."""
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
    """Values that modules are trained on, others of the same kinds, and any other words."""
    return (
        Kind(TRAINED, "train", told_options(facts)),
        Kind(UNSEEN, "held-out", told_options(facts)),
        Kind(ANY_WORDS, "held-out", replace(told_options(facts), open_share=1.0)),
    )


def told_episodes(words: Sequence[str], kind: Kind, count: int, seed: int) -> list[Episode]:
    """So many people of a kind, each with a question for every fact; a seed draws the same ones again."""
    return list(
        itertools.islice(fact_episodes(words, kind.part, seed=FIRST_SEED + seed, options=kind.options), count)
    )


def attribute_of(question: Question) -> str:
    """Which of ``ATTRIBUTES`` a question of such an episode asks for."""
    value = question.value or ""
    return next(name for name in ATTRIBUTES if question.answer == filled(ANSWER, name, value))
