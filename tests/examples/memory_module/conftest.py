"""A small base and episodes to train a memory module on."""

from itertools import islice
from pathlib import Path

import pytest

from examples.memory_module.episodes import Episode
from examples.memory_module.facts import FactsOptions, fact_episodes
from tests.small_base import FEW_TOKENS, make_small_base

WORDS = [f"{first}{second}" for first in "bdfgklmnprst" for second in ("ala", "eno", "iru", "ost", "und")]


@pytest.fixture(scope="session")
def small_base(base_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_base(tmp_path_factory.mktemp("small-base"), base_files, vocabulary=FEW_TOKENS)


@pytest.fixture(scope="session")
def episodes() -> list[Episode]:
    options = FactsOptions(facts_max=2, open_share=1.0, words_max=2, general_share=0.2)
    return list(islice(fact_episodes(WORDS, "train", seed=1, options=options), 48))


@pytest.fixture(scope="session")
def held_out() -> list[Episode]:
    options = FactsOptions(facts_max=2, open_share=1.0, words_max=2)
    return list(islice(fact_episodes(WORDS, "held-out", seed=2, options=options), 8))
