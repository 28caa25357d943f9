# pyright: reportUnknownMemberType=false, reportArgumentType=false
# transformers' models are partly untyped.
"""A base that is small enough to train on in a test: the default base's tokenizer, and two random layers."""

import shutil
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from populace.learning.memory.episodes import Episode
from populace.learning.memory.facts import FactsOptions, fact_episodes

WORDS = [f"{first}{second}" for first in "bdfgklmnprst" for second in ("ala", "eno", "iru", "ost", "und")]


@pytest.fixture(scope="session")
def small_base(base_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small-base")
    for file in base_directory.iterdir():
        if file.suffix in {".json", ".jinja", ".txt"} and file.name not in {"config.json"}:
            shutil.copy(file, folder / file.name)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def episodes() -> list[Episode]:
    options = FactsOptions(facts_max=2, open_share=1.0, words_max=2, general_share=0.2)
    return list(islice(fact_episodes(WORDS, "train", seed=1, options=options), 48))


@pytest.fixture(scope="session")
def held_out() -> list[Episode]:
    options = FactsOptions(facts_max=2, open_share=1.0, words_max=2)
    return list(islice(fact_episodes(WORDS, "held-out", seed=2, options=options), 8))
