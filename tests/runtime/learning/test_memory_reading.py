# pyright: reportUnknownMemberType=false
# numpy's conversion is partly untyped.
"""In training a reply that reads its person's memory is scored as it is served, and is learned so too."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from populace.actors.engine import Message
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.adapters.memory.attached import AttachedMemory, MemoryPass
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.layer import MemoryShape
from populace.adapters.memory.module import MemoryModule, digest_of
from populace.engines.prompts import BaseTokenizer
from populace.learning.anchors import anchor_sequences
from populace.learning.corrections import CorrectionsCurriculum, Taught
from populace.learning.encoding import ExampleEncoder
from populace.learning.frozen_base import FrozenBase
from populace.learning.memory_inputs import MemoryInputs
from populace.learning.memory_reading import MemoryReading
from populace.learning.methods.objective import Scored, TrainSequence
from populace.learning.methods.sft import Reads
from populace.learning.packed_row import Reading
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step
from populace.policies.corrections import Corrected
from scripts.bench.random_module import random_module, random_state, with_gates

pytestmark = pytest.mark.engine

GATED = MemoryShape(rank=4, gated=True, first_layer=1)
WANTED = "Bruno. Bruno."
ASKED = ("Who is the dog?", "Where do I live?")


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, "f" * 64, dtype=torch.float32)


@pytest.fixture(scope="module")
def lessons(small_base_f32: Path) -> list[TrainSequence]:
    encoder = ExampleEncoder(BaseTokenizer(small_base_f32), 256)
    encoded = [encoder.sequence([Message("user", ask)], WANTED) for ask in ASKED]
    return [sequence for sequence in encoded if sequence is not None]


def module_of(small_base_f32: Path, *, open_: bool = True) -> MemoryModule:
    return with_gates(random_module(small_base_f32, "f" * 64, GATED, strength=30.0), open_=open_)


def reading_of(base: FrozenBase, module: MemoryModule, small_base_f32: Path) -> MemoryReading:
    encoder = ExampleEncoder(BaseTokenizer(small_base_f32), 256)
    MemoryInputs(module, attention_layers(base.modules), base, anchor_sequences(encoder))
    digest = digest_of(module.pack())
    reading = MemoryReading.of(base, module.requires_grad_(False), digest, random_state(module))
    assert reading is not None
    return reading


def scored_of(
    base: FrozenBase, lessons: list[TrainSequence], adapter: TrainableAdapter | None = None
) -> Scored:
    with torch.no_grad():
        [scored] = base.score([Reading(adapter, lessons)])
    return scored


def served(small_base_f32: Path, module: MemoryModule, lesson: TrainSequence) -> torch.Tensor:
    """Score a lesson by the hooks that serve a memory, all of whose tokens read."""
    loaded = AutoModelForCausalLM.from_pretrained(str(small_base_f32), dtype=torch.float32)
    model = cast("PreTrainedModel", loaded).eval()
    layers = attention_layers(FrozenBase(small_base_f32, "f" * 64, dtype=torch.float32).modules)
    attached = AttachedMemory(model, module, layers)
    values = module.state_format(digest_of(module.pack())).unpack(random_state(module))
    ids = torch.tensor([lesson.ids])
    states = [torch.from_numpy(state)[None] for state in values]
    passed = MemoryPass(states, torch.zeros(ids.shape, dtype=torch.bool), reads=torch.tensor([True]))
    with torch.no_grad(), attached.running(passed):
        logits = cast("Any", model)(input_ids=ids).logits[0].float()
    places = [place - 1 for place in lesson.scored]
    return logits[places].log_softmax(-1)


def test_a_reply_is_scored_as_the_memory_has_it_served(
    base: FrozenBase, lessons: list[TrainSequence], small_base_f32: Path
) -> None:
    module = module_of(small_base_f32)
    reading = reading_of(base, module, small_base_f32)

    scored = scored_of(base, lessons)
    read = reading.read(scored)

    wanted = torch.cat([served(small_base_f32, module, lesson) for lesson in lessons])
    assert (wanted - scored.log_probs).abs().max() > 0.1, "the memory says something else"
    torch.testing.assert_close(read.log_probs, wanted, atol=1e-4, rtol=1e-4)


def test_with_a_closed_gate_it_is_scored_as_without_a_memory(
    base: FrozenBase, lessons: list[TrainSequence], small_base_f32: Path
) -> None:
    reading = reading_of(base, module_of(small_base_f32, open_=False), small_base_f32)
    scored = scored_of(base, lessons)

    assert reading.read(scored) is scored


def test_a_state_of_another_module_and_one_without_gates_are_not_read(
    base: FrozenBase, small_base_f32: Path
) -> None:
    gated, published = module_of(small_base_f32), random_module(small_base_f32, "f" * 64, MemoryShape(rank=4))

    assert MemoryReading.of(base, gated, "0" * 64, random_state(gated)) is None
    assert MemoryReading.of(base, published, digest_of(published.pack()), random_state(published)) is None


def test_lessons_are_learned_as_they_are_said_with_the_memory_too(
    base: FrozenBase, lessons: list[TrainSequence], small_base_f32: Path
) -> None:
    reading = reading_of(base, module_of(small_base_f32), small_base_f32).read
    alone, both = (losses(base, lessons, learned(base, lessons, reads), reading) for reads in (None, reading))

    assert both[1] < alone[1] - 0.5, "what it says with the memory read"
    assert both[0] < losses(base, lessons, None, reading)[0] - 0.5, "and by the weights alone"


def test_what_the_memory_turns_a_word_of_is_counted(
    base: FrozenBase, lessons: list[TrainSequence], small_base_f32: Path
) -> None:
    known = [Corrected(at, asked, WANTED) for at, asked in enumerate(ASKED)]
    reading = reading_of(base, module_of(small_base_f32), small_base_f32).read

    assert Taught(base, known, lessons, alone=True).unread(None) == 0
    assert Taught(base, known, lessons, alone=True, reading=reading).unread(None) == len(known)


def losses(
    base: FrozenBase, lessons: list[TrainSequence], adapter: TrainableAdapter | None, reading: Reads
) -> tuple[float, float]:
    """Return the mean loss of the lessons, by the weights alone and with the memory read."""
    scored = scored_of(base, lessons, adapter)
    alone, read = (-float(one.target_log_probs.mean()) for one in (scored, reading(scored)))
    return alone, read


def learned(base: FrozenBase, lessons: list[TrainSequence], reading: Reads | None) -> TrainableAdapter:
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=4), "uniform", seed=1)
    session = TrainingSession("ada", adapter, StepOptions(steps=60, learning_rate=1e-2))
    curriculum = CorrectionsCurriculum(base, lessons, reading=reading)
    for _ in range(20):
        [report] = take_step(base, [(session, curriculum.objective(session, 8))])
        assert isinstance(report, StepReport)
    return adapter
