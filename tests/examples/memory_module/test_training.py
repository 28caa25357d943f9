"""Training a memory module goes on where it stopped, is the same for the same seed, and keeps the best."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from examples.memory_module.episodes import Episode, Question
from examples.memory_module.recall import Recall, Validation
from examples.memory_module.training import MemoryTrainer, TrainOptions
from populace.actors.errors import InvalidRequest
from populace.adapters.base_modules import read_base_modules
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.layer import MemoryShape
from populace.adapters.memory.module import MemoryModule

pytestmark = pytest.mark.engine

OPTIONS = TrainOptions(steps=6, batch=4, validate_every=2, probe_batches=6, patience=100)

NewTrainer = Callable[..., MemoryTrainer]


class Noted:
    """What training told of itself."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.validations: list[Validation] = []
        self.shares: dict[str, list[float]] = {}

    def doing(self, what: str, share: float) -> None:
        self.shares.setdefault(what, []).append(share)

    def stepped(self, step: int, scored: Recall) -> None:
        assert torch.isfinite(scored.loss)
        self.steps.append(step)

    def validated(self, validation: Validation, best: Validation) -> None:
        assert best.loss <= validation.loss
        self.validations.append(validation)


class Impatient(Noted):
    """Presses Ctrl-C at the second validation after the first step."""

    def validated(self, validation: Validation, best: Validation) -> None:
        if validation.step == 2 * OPTIONS.validate_every:
            raise KeyboardInterrupt


@pytest.fixture
def new_trainer(small_base: Path, episodes: list[Episode], held_out: list[Episode]) -> NewTrainer:
    def new(
        options: TrainOptions = OPTIONS,
        noted: Noted | None = None,
        checkpoint: Path | None = None,
        shape: MemoryShape | None = None,
        validation: list[Episode] | None = None,
        chosen: list[Episode] | None = None,
        first: Path | None = None,
    ) -> MemoryTrainer:
        return MemoryTrainer(
            small_base,
            "f" * 64,
            chosen or episodes,
            validation or held_out,
            shape or MemoryShape(rank=4, alpha=8.0),
            options,
            noted or Noted(),
            first=first,
            checkpoint=checkpoint,
        )

    return new


def test_training_lowers_the_loss(new_trainer: NewTrainer, episodes: list[Episode], tmp_path: Path) -> None:
    """On episodes that it has seen: of two random layers nobody should expect more."""
    noted = Noted()
    options = TrainOptions(steps=30, batch=8, validate_every=10, probe_batches=6, step_size=0.1)
    trainer = new_trainer(options, noted, validation=episodes[:8])
    best = trainer.run(tmp_path / "at.checkpoint", keep=tmp_path / "module")

    assert noted.steps == list(range(1, 31))
    assert [validation.step for validation in noted.validations] == [0, 10, 20, 30]
    assert best.loss < noted.validations[0].loss
    assert all(shares[-1] == 1.0 for shares in noted.shares.values())


def test_the_module_that_is_kept_can_be_served(
    new_trainer: NewTrainer, small_base: Path, tmp_path: Path
) -> None:
    trainer = new_trainer()
    trainer.run(keep=tmp_path / "module")

    layers = attention_layers(read_base_modules(small_base))
    kept = MemoryModule.read(tmp_path / "module", "f" * 64, layers)
    best, _ = trainer.best
    for name, parameter in kept.state_dict().items():
        torch.testing.assert_close(parameter, best[name], rtol=1 / 256, atol=0.0)


@pytest.mark.parametrize("writes", ["token", "message"])
def test_training_that_goes_on_gives_the_bits_of_one_that_never_stopped(
    new_trainer: NewTrainer, tmp_path: Path, writes: str
) -> None:
    shape = MemoryShape(rank=4, alpha=8.0, writes="message" if writes == "message" else "token")
    whole = new_trainer(shape=shape)
    whole.run()

    stopped = new_trainer(noted=Impatient(), shape=shape)
    with pytest.raises(KeyboardInterrupt):
        stopped.run(tmp_path / "checkpoint")
    resumed = new_trainer(shape=shape, checkpoint=tmp_path / "checkpoint")
    resumed.run()

    assert resumed.memory.pack() == whole.memory.pack()
    assert resumed.best[1] == whole.best[1]
    for name, parameter in whole.best[0].items():
        assert torch.equal(resumed.best[0][name], parameter)


def test_the_same_seed_trains_the_same_module_and_another_one_does_not(new_trainer: NewTrainer) -> None:
    def trained(seed: int) -> bytes:
        trainer = new_trainer(TrainOptions(steps=3, batch=4, validate_every=3, probe_batches=4, seed=seed))
        trainer.run()
        return trainer.memory.pack()

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)


def test_training_ends_when_nothing_gets_better(new_trainer: NewTrainer) -> None:
    noted = Noted()
    options = TrainOptions(
        steps=100, batch=4, validate_every=1, patience=2, step_size=1e-12, start="published"
    )
    new_trainer(options, noted).run()

    assert len(noted.steps) < 100


def test_sparsity_lowers_how_strongly_is_written(new_trainer: NewTrainer) -> None:
    def rate(sparsity: float) -> float:
        options = TrainOptions(
            steps=12, batch=4, validate_every=12, probe_batches=4, sparsity=sparsity, sparsity_rate=0.0
        )
        trainer = new_trainer(options)
        trainer.run()
        return float(torch.stack([trainer.memory.layer(n).rate_bias for n in range(2)]).detach().mean())

    assert rate(1000.0) < rate(0.0)


def test_a_module_is_trained_on(new_trainer: NewTrainer, tmp_path: Path) -> None:
    path = tmp_path / "module"
    first = new_trainer(TrainOptions(steps=2, batch=4, validate_every=2, probe_batches=2))
    first.run()
    path.write_bytes(first.memory.pack())

    assert new_trainer(first=path).memory.pack() == first.memory.pack()
    with pytest.raises(InvalidRequest, match="another shape"):
        new_trainer(first=path, shape=MemoryShape(rank=2, alpha=4.0))


def test_few_values_and_a_wide_state_can_be_probed_for(new_trainer: NewTrainer) -> None:
    """Fewer directions of values than rows of all states together."""
    options = TrainOptions(steps=1, batch=2, probe_batches=1)
    trainer = new_trainer(options, shape=MemoryShape(rank=24, alpha=48.0))

    assert all(bool(torch.isfinite(parameter).all()) for parameter in trainer.memory.parameters())
    trainer.run()


def test_episodes_without_a_value_are_refused_by_name(
    new_trainer: NewTrainer, held_out: list[Episode]
) -> None:
    questions = (Question(ask="Say hello.", answer="Hello."),)
    empty = [one.model_copy(update={"questions": questions}) for one in held_out]

    with pytest.raises(InvalidRequest, match="No episode has an answer with a value"):
        new_trainer(chosen=empty)


def test_a_checkpoint_of_other_options_or_damaged_is_refused_by_name(
    new_trainer: NewTrainer, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint"
    new_trainer(TrainOptions(steps=1, batch=4, probe_batches=2)).save(path)

    with pytest.raises(InvalidRequest, match="other options"):
        new_trainer(TrainOptions(steps=2, batch=4, probe_batches=2), checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InvalidRequest, match="no checkpoint"):
        new_trainer(TrainOptions(steps=1, batch=4, probe_batches=2), checkpoint=path)
