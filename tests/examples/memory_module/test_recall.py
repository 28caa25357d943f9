# pyright: reportUnknownMemberType=false
# transformers' loading functions are partly untyped.
"""What training sees of a conversation is what serving sees of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from examples.memory_module.encoding import EpisodeEncoder, batch_of
from examples.memory_module.episodes import Episode
from examples.memory_module.recall import run_base
from populace.actors.engine import Message
from populace.engines.prompts import BaseTokenizer

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def model(small_base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        str(small_base), dtype=torch.float32, attn_implementation="eager"
    ).eval()


@torch.no_grad()
def test_each_conversation_of_a_row_is_read_as_if_it_were_alone(
    model: Any, small_base: Path, episodes: list[Episode]
) -> None:
    tokenizer = BaseTokenizer(small_base)
    chosen = [one for one in episodes if all(question.answer for question in one.questions)][:6]
    assert any(len(one.conversations()) > 1 for one in chosen)
    assert any(len(one.questions) > 1 for one in chosen)
    encoded = [EpisodeEncoder(tokenizer, {}).encode(one) for one in chosen]
    batch = batch_of(encoded)

    for rows, many, conversations in (
        (batch.told, [one.told for one in encoded], [one.conversations() for one in chosen]),
        (
            batch.asked,
            [one.asked for one in encoded],
            [
                [[Message("user", q.ask), Message("assistant", q.answer or "")] for q in one.questions]
                for one in chosen
            ],
        ),
    ):
        hidden_BTH = run_base(model, rows)
        for row, (one, apart) in enumerate(zip(many, conversations, strict=True)):
            assert max(one.branches) == len(apart)
            for branch, messages in enumerate(apart, start=1):
                places = [place for place, of in enumerate(one.branches) if of in (0, branch)]
                ids = [one.ids[place] for place in places]
                whole = tokenizer.tokens_of(tuple(messages)).ids
                assert ids == whole[: len(ids)]
                alone_1TH = model.model(torch.tensor([ids])).last_hidden_state
                torch.testing.assert_close(hidden_BTH[row, places], alone_1TH[0], rtol=1e-4, atol=1e-5)
