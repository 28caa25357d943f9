# pyright: reportUnknownMemberType=false
# transformers' models are partly untyped.
"""A base that is small enough to train on, in the type in which numbers can be compared closely."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from tests.small_base import make_small_base


@pytest.fixture(scope="session")
def small_base_f32(base_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_base(tmp_path_factory.mktemp("small-base-f32"), base_files, torch.float32)


@pytest.fixture(scope="session")
def decided_base(base_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base that prefers some tokens: random weights alone find all of the vocabulary as likely."""
    folder = make_small_base(tmp_path_factory.mktemp("decided-base"), base_files, torch.float32)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.get_input_embeddings().get_parameter("weight").data *= 16
    model.save_pretrained(folder)
    return folder
