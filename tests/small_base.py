# pyright: reportUnknownMemberType=false, reportArgumentType=false
# transformers' models are partly untyped.
"""A base that is small enough to train on, or to talk to a few hundred times, in a test."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from tests.tiny_bases import make_tiny_base

VOCABULARY = 49152
FEW_TOKENS = 4096
"""Of a base to train on: most of what a tiny base computes is a score for each token that there is."""


def make_small_base(
    folder: Path, base_directory: Path, dtype: torch.dtype = torch.bfloat16, *, vocabulary: int = VOCABULARY
) -> Path:
    """Write a base of two random layers with the first tokens of the default base's tokenizer, or all.

    Both engines serve it.
    """
    copy_tokenizer(base_directory, folder)
    if vocabulary < VOCABULARY:
        keep_first_tokens(folder / "tokenizer.json", vocabulary)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    return folder


def make_lively_base(folder: Path, base_directory: Path) -> Path:
    """Write a base of two random layers in float32 whose attention, and so a memory, changes what it says."""
    copy_tokenizer(base_directory, folder)
    return make_tiny_base(folder, "LlamaForCausalLM", vocabulary=49152)


SHORT_LAYERS = (0, 1, 2, -3, -2, -1)


def make_short_base(folder: Path, base_directory: Path) -> Path:
    """Write the default base with six of its layers: its replies make no sense, but prefer some tokens.

    It is for what is compared between engines, which takes less time on it.
    """
    copy_tokenizer(base_directory, folder)
    model: Any = AutoModelForCausalLM.from_pretrained(base_directory, local_files_only=True)
    layers = [model.model.layers[number] for number in SHORT_LAYERS]
    model.model.layers = torch.nn.ModuleList(layers)
    model.config.num_hidden_layers = len(layers)
    model.save_pretrained(folder)
    return folder


def make_second_base(folder: Path, base_directory: Path) -> Path:
    """Write a base of another architecture: a Qwen3 of eight random layers, whose queries are wider."""
    copy_tokenizer(base_directory, folder)
    torch.manual_seed(1)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        eos_token_id=2,
    )
    Qwen3ForCausalLM(config).to(torch.float32).save_pretrained(folder)
    return folder


def copy_tokenizer(base_directory: Path, folder: Path) -> None:
    for file in base_directory.iterdir():
        if file.suffix in {".json", ".jinja", ".txt"} and file.name != "config.json":
            shutil.copy(file, folder / file.name)


def keep_first_tokens(path: Path, count: int) -> None:
    """Leave out the later tokens and their merges: what one of them stood for is several tokens then."""
    tokenizer = json.loads(path.read_text())
    model = tokenizer["model"]
    model["vocab"] = {token: number for token, number in model["vocab"].items() if number < count}
    model["merges"] = [merge for merge in model["merges"] if "".join(merge) in model["vocab"]]
    path.write_text(json.dumps(tokenizer))
