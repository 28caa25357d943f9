"""A gated module is trained: its gates fitted, its start solved for, and what it recalls learned."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import psutil
import pytest
import torch
from transformers import LlamaForCausalLM

from examples.memory_module.answer_learning import AnswerOptions, Scored
from examples.memory_module.encoding import FIRST_TOKENS, EpisodeEncoder, OwnReply, batch_of
from examples.memory_module.episodes import Episode, Question, SaidMessage
from examples.memory_module.gate_fitting import nearest_to_opening
from examples.memory_module.gated_training import GatedTrainer
from examples.memory_module.loaded_base import load_base
from examples.memory_module.own_words import own_words_episodes
from examples.memory_module.recall import Validation, hidden_inputs
from examples.memory_module.stored_inputs import stored_inputs
from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.adapters.base_modules import read_base_modules
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.layer import NOT_WRITTEN, MemoryShape
from populace.adapters.memory.module import Gates, MemoryModule
from populace.engines.prompts import BaseTokenizer
from tests.examples.memory_module.conftest import WORDS

pytestmark = pytest.mark.engine

SHAPE = MemoryShape(rank=4, alpha=8.0, gated=True, first_layer=1)
OPTIONS = AnswerOptions(steps=20, batch=8, validate_every=10)


class Noted:
    """What training told of itself."""

    def __init__(self) -> None:
        self.shares: dict[str, float] = {}
        self.steps: list[int] = []
        self.validations: list[Validation] = []

    def doing(self, what: str, share: float) -> None:
        self.shares[what] = share

    def answered(self, step: int, scored: Scored) -> None:
        assert torch.isfinite(scored.loss)
        self.steps.append(step)

    def validated(self, validation: Validation, best: Validation) -> None:
        assert best.loss <= validation.loss
        self.validations.append(validation)


@pytest.fixture(scope="module")
def told() -> list[Episode]:
    return list(islice(own_words_episodes(WORDS, "train", seed=1), 48))


@pytest.fixture(scope="module")
def others() -> list[Episode]:
    return list(islice(own_words_episodes(WORDS, "held-out", seed=2), 8))


@pytest.fixture(scope="module")
def noted() -> Noted:
    return Noted()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("module") / "module.safetensors"


@pytest.fixture(scope="module")
def trained(
    small_base: Path, told: list[Episode], others: list[Episode], noted: Noted, kept: Path
) -> MemoryModule:
    trainer = GatedTrainer(small_base, "f" * 64, told, others, SHAPE, OPTIONS, noted)
    trainer.run(keep=kept)
    return trainer.memory


def read(small_base: Path, path: Path) -> MemoryModule:
    return MemoryModule.read(path, "f" * 64, attention_layers(read_base_modules(small_base)))


def test_a_module_learns_to_recall_and_the_best_one_is_kept(
    small_base: Path, trained: MemoryModule, noted: Noted, kept: Path
) -> None:
    assert noted.steps == list(range(1, OPTIONS.steps + 1))
    assert set(noted.shares.values()) == {1.0}
    assert [one.step for one in noted.validations] == [0, 10, 20]
    assert min(one.loss for one in noted.validations) < noted.validations[0].loss
    assert trained.shape == SHAPE
    assert read(small_base, kept).pack() == trained.pack()
    assert all(bool(parameter.any()) for parameter in trained.parameters())


def test_the_same_episodes_make_the_same_module(
    small_base: Path, told: list[Episode], others: list[Episode], trained: MemoryModule
) -> None:
    again = GatedTrainer(small_base, "f" * 64, told, others, SHAPE, OPTIONS, Noted())

    again.run()

    assert again.memory.pack() == trained.pack()


def test_a_module_that_is_trained_on_keeps_its_gates(
    small_base: Path,
    told: list[Episode],
    others: list[Episode],
    trained: MemoryModule,
    noted: Noted,
    kept: Path,
) -> None:
    first, noted = noted, Noted()
    options = replace(OPTIONS, steps=10)
    on = GatedTrainer(small_base, "f" * 64, told, others, SHAPE, options, noted, first=kept)

    on.run()

    assert "Fitting the gates" not in noted.shares
    best = min(one.loss for one in first.validations)
    assert noted.validations[0].loss == pytest.approx(best, rel=0.05)
    assert trained.gates is not None
    assert on.memory.gates is not None
    assert torch.equal(on.memory.gates.read_weight, trained.gates.read_weight)
    with pytest.raises(InvalidRequest, match="another shape"):
        GatedTrainer(small_base, "f" * 64, told, others, replace(SHAPE, rank=8), options, noted, first=kept)


def test_of_words_around_values_some_are_kept_to_learn_from(small_base: Path, told: list[Episode]) -> None:
    """Of those that tell something new all are: an answer's first ones, its values', and what ends these."""
    base = load_base(small_base, "f" * 64)
    encoder = EpisodeEncoder(base.tokenizer, {}, gated=True)
    episodes = [encoder.encode(one) for one in told[:8]]

    few, every = (
        stored_inputs(
            base.model, base.attention, SHAPE, episodes, batch=4, words_share=share, progress=lambda _: None
        )
        for share in (0.0, 1.0)
    )

    for some, all_ in zip(few, every, strict=True):
        assert int(some.is_value.sum()) == int(all_.is_value.sum())
        assert len(some.targets) < len(all_.targets)
        for answer in range(int(all_.answers.max()) + 1):
            of_some, of_all = (one.targets[one.answers == answer] for one in (some, all_))
            assert torch.equal(of_some[:FIRST_TOKENS], of_all[:FIRST_TOKENS])
        for told_at, asked_at in some.links:
            assert some.ids[told_at] == some.targets[asked_at]
            assert some.is_value[asked_at]


def test_what_is_kept_is_the_bases_own_before_each_token(small_base: Path, told: list[Episode]) -> None:
    base = load_base(small_base, "f" * 64)
    encoder = EpisodeEncoder(base.tokenizer, {}, gated=True)
    episodes = [encoder.encode(one) for one in told[:4]]

    found = stored_inputs(
        base.model, base.attention, SHAPE, episodes, batch=1, words_share=1.0, progress=lambda _: None
    )

    for encoded, one in zip(sorted(episodes, key=lambda episode: len(episode.told.ids)), found, strict=True):
        rows = batch_of([encoded])
        hidden = hidden_inputs(base.model, base.attention, rows.asked)
        places = [target.position for answer in encoded.answers for target in answer]
        assert torch.equal(one.targets, torch.tensor([encoded.asked.ids[place] for place in places]))
        for kept, place in zip(one.last, places, strict=True):
            assert torch.equal(kept, hidden.last[0, place - 1])
        for layer, inputs in enumerate(SHAPE.with_memory(hidden.inputs)):
            assert torch.equal(one.asked[layer, -1], inputs[0, places[-1] - 1])


def test_an_episode_of_which_nothing_is_written_teaches_not_to_know(
    small_base: Path, told: list[Episode], others: list[Episode]
) -> None:
    nothing = Episode(
        messages=(SaidMessage(role="user", content="It rains.", tells=False),),
        questions=(Question(ask="Where do I live?", answer="You have not told me where you live."),),
    )

    GatedTrainer(
        small_base, "f" * 64, [nothing, *told], others, SHAPE, replace(OPTIONS, steps=6, batch=9), Noted()
    ).run()


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
        GatedTrainer(small_base, "f" * 64, personal, personal, SHAPE, OPTIONS, Noted()).run()


def test_more_episodes_than_there_is_memory_for_are_refused_before_the_base_reads_them(
    small_base: Path, told: list[Episode], others: list[Episode], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    noted = Noted()

    with pytest.raises(InvalidRequest, match="make fewer"):
        GatedTrainer(small_base, "f" * 64, told, others, SHAPE, OPTIONS, noted).run()

    assert "Probing the base" not in noted.shares


def test_episodes_without_an_answer_are_refused_by_name(small_base: Path, told: list[Episode]) -> None:
    nothing = [
        Episode(
            messages=(SaidMessage(role="user", content="My city is Lisbon."),),
            questions=(Question(ask="What is a star?", answer=None),),
        )
    ]

    with pytest.raises(InvalidRequest, match="for a value that was told"):
        GatedTrainer(small_base, "f" * 64, told, nothing, SHAPE, OPTIONS, Noted())
