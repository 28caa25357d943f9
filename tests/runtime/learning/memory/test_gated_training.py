"""A gated module is trained: its gates fitted, its start solved for, and what it recalls learned."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.adapters.base_modules import read_base_modules
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.gates import Gates
from populace.adapters.memory.layer import NOT_WRITTEN, MemoryShape
from populace.adapters.memory.module import MemoryModule
from populace.engines.prompts import BaseTokenizer
from populace.learning.memory.encoding import EpisodeEncoder, OwnReply
from populace.learning.memory.episodes import Episode, Question, SaidMessage
from populace.learning.memory.gate_fitting import nearest_to_opening
from populace.learning.memory.own_words import own_words_episodes
from populace.learning.memory.recall import Recall
from populace.learning.memory.training import MemoryTrainer, TrainOptions, Validation
from tests.runtime.learning.memory.conftest import WORDS

pytestmark = pytest.mark.engine

SHAPE = MemoryShape(rank=4, alpha=8.0, gated=True, first_layer=1)
OPTIONS = TrainOptions(
    steps=2,
    batch=4,
    validate_every=1,
    probe_batches=30,
    stored_steps=40,
    last_stored_steps=20,
    step_size=0.01,
    patience=100,
)


class Noted:
    """What training told of itself."""

    def __init__(self) -> None:
        self.shares: dict[str, float] = {}
        self.validations: list[Validation] = []

    def doing(self, what: str, share: float) -> None:
        self.shares[what.split(",")[0]] = share

    def stepped(self, step: int, scored: Recall) -> None:
        assert torch.isfinite(scored.loss)

    def validated(self, validation: Validation, best: Validation) -> None:
        self.validations.append(validation)


@pytest.fixture(scope="module")
def told() -> list[Episode]:
    return list(islice(own_words_episodes(WORDS, "train", seed=1), 120))


@pytest.fixture(scope="module")
def others() -> list[Episode]:
    return list(islice(own_words_episodes(WORDS, "held-out", seed=2), 8))


def trainer(
    base: Path, train: list[Episode], validation: list[Episode], options: TrainOptions, noted: Noted
) -> MemoryTrainer:
    return MemoryTrainer(base, "f" * 64, train, validation, SHAPE, options, noted)


def test_a_gated_module_is_trained_and_goes_on_where_it_stopped(
    small_base: Path, told: list[Episode], others: list[Episode], tmp_path: Path
) -> None:
    noted = Noted()
    session = trainer(small_base, told, others, OPTIONS, noted)
    gates = session.memory.gates
    assert gates is not None
    assert bool(gates.read_weight.any())
    assert bool(gates.write_weight.any())
    solved = [session.memory.layer(0).key.detach().clone(), gates.read_weight.detach().clone()]

    session.run(tmp_path / "checkpoint", keep=tmp_path / "module")

    layers = attention_layers(read_base_modules(small_base))
    kept = MemoryModule.read(tmp_path / "module", "f" * 64, layers)
    assert kept.shape == SHAPE
    assert len(noted.validations) == OPTIONS.steps + 2, "at first, after each step, and in the end"
    assert not torch.equal(session.memory.layer(0).key, solved[0])
    assert torch.equal(gates.read_weight, solved[1])
    assert set(noted.shares.values()) == {1.0}
    again = MemoryTrainer(
        small_base, "f" * 64, told, others, SHAPE, OPTIONS, Noted(), checkpoint=tmp_path / "checkpoint"
    )
    again.run()
    assert again.memory.pack() == session.memory.pack()


def test_what_the_base_computed_once_is_learned_from(
    small_base: Path, told: list[Episode], others: list[Episode]
) -> None:
    def value_loss(stored_steps: int) -> float:
        options = TrainOptions(steps=1, batch=4, probe_batches=30, stored_steps=stored_steps, step_size=1e-9)
        noted = Noted()
        trainer(small_base, told, others, options, noted).run()
        return noted.validations[0].value_loss

    assert value_loss(60) < value_loss(0)


def test_what_is_encoded_is_what_open_gates_let_through(base_directory: Path) -> None:
    tokenizer = BaseTokenizer(base_directory, frozenset({"user"}))
    episode = Episode(
        messages=(
            SaidMessage(role="user", content="My city is Lisbon."),
            SaidMessage(role="assistant", content="Lovely."),
            SaidMessage(role="user", content="It rains again.", tells=False),
        ),
        questions=(
            Question(ask="What is my city?", answer="Your city is Lisbon.", value="Lisbon"),
            Question(ask="What is a star?", answer=None),
        ),
    )

    encoded = EpisodeEncoder(BaseTokenizer(base_directory), {}, gated=True).encode(episode)

    written = [place for place, one in enumerate(encoded.written) if one != NOT_WRITTEN]
    [first, _] = tokenizer.tokens_of(tuple(one.message for one in episode.messages), 0).spans
    assert written == list(range(first[0], first[1] - 1))
    assert len(encoded.answers) == 1
    assert set(encoded.asked_written) == {NOT_WRITTEN}
    assert tokenizer.tokens_of((Message("user", "x"),), 0).spans


def test_a_request_that_opens_the_gate_wrongly_is_answered_as_the_base_does(base_directory: Path) -> None:
    tokenizer = BaseTokenizer(base_directory)
    episode = Episode(
        messages=(SaidMessage(role="user", content="My city is Lisbon."),),
        questions=(
            Question(ask="What is a star?", answer=None),
            Question(ask="How do I tell my boss?", answer=None),
            Question(ask="What helps my cat?", answer=None),
        ),
    )
    replies = {
        "How do I tell my boss?": OwnReply("Say it soon.", whole=True),
        "What helps my cat?": OwnReply("Say it soon.", whole=False),
    }

    encoded = EpisodeEncoder(tokenizer, replies, gated=True).encode(episode)

    ended, cut = ([encoded.asked.ids[target.position] for target in one] for one in encoded.answers)
    assert tokenizer.text(cut) == "Say it soon."
    assert ended[:-1] == cut
    assert ended[-1] in tokenizer.eos_ids


def test_the_requests_nearest_to_opening_the_gate_are_found(small_base: Path) -> None:
    layer = attention_layers(read_base_modules(small_base))[1]
    model = LlamaForCausalLM.from_pretrained(small_base, dtype=torch.float32)  # pyright: ignore[reportUnknownMemberType]
    gates = Gates(layer.widths.hidden)
    torch.nn.init.normal_(gates.read_weight, generator=torch.Generator().manual_seed(0))
    asks = ["What is a star?", "Hi", "How do I tell my boss that I am late again?", "Why?"]
    tokenizer = BaseTokenizer(small_base)

    found = nearest_to_opening(model, tokenizer, layer, gates, asks, 4)

    assert sorted(found) == sorted(asks)
    assert nearest_to_opening(model, tokenizer, layer, gates, asks[::-1], 2) == found[:2]
    torch.nn.init.normal_(gates.read_weight, generator=torch.Generator().manual_seed(0)).data.neg_()
    assert nearest_to_opening(model, tokenizer, layer, gates, asks, 4) == found[::-1]


def test_episodes_that_have_nothing_for_a_gate_to_close_on_are_refused_by_name(
    small_base: Path, held_out: list[Episode]
) -> None:
    personal = [
        one.model_copy(update={"questions": tuple(asked for asked in one.questions if asked.value)})
        for one in held_out
    ]

    with pytest.raises(InvalidRequest, match="--own-words"):
        trainer(small_base, personal, personal, OPTIONS, Noted())
