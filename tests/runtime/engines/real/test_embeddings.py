"""An embedding is what transformers computes."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from populace.actors.engine import OwnedEngine

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

FRANCE = "The capital of France is"


async def test_an_embedding_is_the_mean_of_the_last_hidden_states(
    engine: OwnedEngine, base_directory: Path
) -> None:
    load: Any = AutoModelForCausalLM
    tokenizer: Any = cast("Any", AutoTokenizer).from_pretrained(str(base_directory))
    model: Any = load.from_pretrained(str(base_directory), dtype=torch.float32).eval()
    with torch.inference_mode():
        hidden: Any = model.model(**tokenizer(FRANCE, return_tensors="pt")).last_hidden_state[0].mean(0)

    [embedding] = await engine.embed([FRANCE])

    assert embedding.tokens == 5
    assert embedding.values == pytest.approx((hidden / hidden.norm()).tolist(), abs=1e-5)
