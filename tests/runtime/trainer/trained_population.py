"""A host with models that were judged, and workshops that train them."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from populace.actors.engine import AdapterRef
from populace.actors.errors import EngineUnavailable
from populace.actors.feedback import Opinion
from populace.actors.host.model_host import ModelHost
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from populace.engines.options import EngineOptions
from populace.engines.torch_engine import TorchEngine
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import EngineSampler, engine_sampler
from populace.learning.on_policy.teachers import Teacher
from populace.learning.trainer import Trainer
from populace.policies.evaluation_gate import GateRule
from populace.storage.revisions import RevisionFiles
from populace.storage.store import Store
from populace.storage.training.sessions import SessionFiles
from populace.storage.uploads.upload_files import UploadFiles
from populace.trainer.loading import LoadedTrainer
from populace.trainer.loop import TrainingLoop
from populace.trainer.runs import RunBuilder
from tests.actors.fakes import FakeClock, ScriptedEngine, spoken
from tests.actors.turns import grant_of, reply, turn_of

BASE = "f" * 64
GATE = GateRule(probe_kl_max=100.0, probe_loss_max=100.0)
"""A base of random weights has no general knowledge to lose."""

EVERYTHING = GateRule(gain_min=-100.0, probe_kl_max=100.0, probe_loss_max=100.0)
"""Takes any candidate: a few steps make nothing better."""

TURNS = 24
RIGHT = "Bruno. Bruno. Bruno."
CORRECTED = Opinion(correction=RIGHT)
OPTIONS = TrainingOptions(rank=4, steps=8, learning_rate=1e-2)
ADA, BOB = ModelId("acme", "ada"), ModelId("acme", "bob")


class Engine(ScriptedEngine):
    """Fails to prepare as often as it is told to."""

    def __init__(self) -> None:
        super().__init__(spoken("Hello."))
        self.failures = 0

    async def prepare(self, adapter: AdapterRef, replaces: AdapterRef | None = None) -> None:
        if self.failures:
            self.failures -= 1
            raise EngineUnavailable("it is restarting")
        await super().prepare(adapter, replaces)


class Trained:
    """A host with its store, and workshops over it that share a base."""

    def __init__(
        self,
        path: Path,
        base_directory: Path,
        base: FrozenBase,
        *,
        sampler: EngineSampler | None = None,
        community: str | None = None,
    ) -> None:
        self.sampler = sampler
        self.teacher: Teacher | None = None
        self.store = Store.create_or_open(path, 2)
        self.clock = FakeClock()
        self.engine = Engine()
        self.host = ModelHost(
            "host-0",
            self.store,
            range(2),
            base=BASE,
            clock=self.clock,
            engine=self.engine,
            community=community,
        )
        self.sessions = SessionFiles.of_store(path)
        self.kept_bytes_max = 2**30
        self.gate = GATE
        self.uploads = UploadFiles.of_store(path)
        self._base_directory = base_directory
        self._base = base

    def runs(self, base: FrozenBase | None = None, memory_module: Path | None = None) -> RunBuilder:
        return RunBuilder(
            base or self._base,
            self._base_directory,
            self.store.revisions,
            rank_max=16,
            sampler=self.sampler,
            memory_module=memory_module,
            teacher=self.teacher,
        )

    def training_loop(
        self, base: FrozenBase | None = None, memory_module: Path | None = None
    ) -> TrainingLoop:
        served = base or self._base

        def load() -> LoadedTrainer:
            runs = self.runs(served, memory_module)
            return LoadedTrainer(Trainer(served, runs.encoder, gate=self.gate, rank_max=16), runs)

        return TrainingLoop(
            self.host,
            self.host.jobs,
            load=load,
            revisions=self.store.revisions,
            sessions=self.sessions,
            uploads=self.uploads,
            memory_module="m" * 64,
            kept_bytes_max=self.kept_bytes_max,
        )

    async def teach(self, model: ModelId, opinion: Opinion | None = CORRECTED, turns: int = TURNS) -> ModelId:
        """Create a model of so many turns, on each of which somebody has this opinion."""
        await self.host.create_model(model)
        await self.talk(model, 0, turns)
        for number in range(turns):
            if opinion is not None:
                await self.host.give_feedback(model, number, opinion)
        self.clock.advance(1)
        return model

    async def talk(self, model: ModelId, start: int, stop: int) -> None:
        for number in range(start, stop):
            grant = await grant_of(self.host, turn_of(model, f"op-{number}"))
            await self.host.finish_turn(grant, reply("Who knows?", asked=f"Who is dog {number}?"))

    async def ask(self, model: ModelId, options: TrainingOptions = OPTIONS) -> TrainingJob:
        return await self.host.jobs.ask(model, options)

    async def job(self, model: ModelId) -> TrainingJob:
        return (await self.host.jobs.of_model(model))[0]


@contextmanager
def torch_sampler(
    base: Path,
    folder: Path,
    *,
    dtype: Literal["auto", "float32"] = "float32",
    sequences_max: int = 8,
    memory_module: Path | None = None,
) -> Generator[EngineSampler]:
    """Sample from a torch engine of one thread that serves the base, with its revisions in the folder."""

    async def start() -> TorchEngine:
        options = EngineOptions(
            base,
            BASE,
            context_tokens=512,
            sequences_max=sequences_max,
            dtype=dtype,
            threads=1,
            memory_module=memory_module,
        )
        return await TorchEngine.start(options)

    with engine_sampler(start, RevisionFiles(folder / "revisions")) as started:
        yield started
