"""How many damaged candidates does the evaluation gate catch, and how many honest ones does it refuse?

People have a style and facts of their own. Each model is trained as by ``populace model train``: first
corrections, then more corrections and liked replies. That candidate is honest. Then it is trained on a little
more that is damaged: another person's data, replies that break off or repeat themselves, "I do not know" to
the own facts, flattery. Candidates lie between the honest weights and the damaged ones, at several shares of
the way; the honest ones on the last part of the way from their parent. All are judged by the gate as a
trainer has it, with an engine that serves them and a memory that was written by a few turns.

    python examples/gate.py
    python examples/gate.py --few
    python examples/gate.py --people 2 --json gate.json

A table says how many of each kind were refused, with Wilson's 95 % interval, and which objections were made.
The other table says it by the share of the damage. It leaves no files but the one that ``--json`` names; that
has the verdicts of each person once all are there, and the same command goes on from it.
"""

import argparse
import asyncio
import itertools
import json
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from planted.damage import DAMAGES, Taught
from planted.people import Person, people_of
from planted.requests import REQUESTS
from rich.console import Console
from rich.table import Table

from populace.actors.engine import GenerateRequest, MemoryUse, Message, OwnedEngine, Sampling, joined
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.adapters.lora.trainable import TrainableAdapter
from populace.base.memory_module import find_memory_module
from populace.base.prepare import prepare_base
from populace.engines.in_process import start_in_process
from populace.learning.curricula import SupervisedCurriculum
from populace.learning.on_policy.sampler import EngineSampler, engine_sampler
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step
from populace.learning.trainer import Candidate, Learner, TrainerProgress
from populace.policies.evaluation_gate import GateRule
from populace.settings.environment import enter_quiet_environment
from populace.settings.settings import Settings
from populace.storage.packed.adapter import PackedAdapter
from populace.storage.revisions import RevisionFiles
from populace.trainer.datasets import TrainingData
from populace.trainer.loading import LoadedTrainer, load_trainer
from scripts.bench.intervals import share_of

HONEST = "honest"
RANK = 4
CONTEXT_TOKENS = 1024
SENTENCE_TOKENS = 40
TOLD_TURNS = 4
DAMAGE_RATE = 1e-3
DAMAGE_BATCH = 8

OBJECTIONS = {
    "it could not learn": "corrections",
    "its loss of other held-out": "held-out loss",
    "its held-out loss": "held-out loss",
    "on general text it is": "general divergence",
    "its loss on general text": "general loss",
    "it breaks off": "general replies",
    "its general replies": "general replies",
    "it answers general requests": "general replies",
    "as it is served, with its memory": "served corrections",
    "as it is served": "served replies",
    "it no longer answers": "suite",
}
"""What is printed for the objections that begin so; the first that fits counts."""


class Judged(NamedTuple):
    """A candidate of a kind, at a share of the way from honest to damaged weights, and what was objected."""

    person: str
    kind: str
    share: float
    objections: tuple[str, ...]


class Planter:
    """Trains the models of people, honestly and not, and asks the gate about them."""

    def __init__(
        self, loaded: LoadedTrainer, revisions: RevisionFiles, options: argparse.Namespace, console: Console
    ) -> None:
        self._trainer, self._runs = loaded
        self._revisions = revisions
        self._options = options
        self._console = console

    def judged(self, person: Person, other: Person, memory: MemoryUse) -> list[Judged]:
        """Judge all candidates of one person; the damage of one kind is another person's data."""
        first = self._candidate(self._learner(person, None, memory, seed=0))
        parent = self._published(first)
        learners = [self._learner(person, parent, memory, seed=seed) for seed in range(self._options.seeds)]
        trained = [self._candidate(learner) for learner in learners]
        rows: list[Judged] = []
        for learner, candidate in zip(learners, trained, strict=True):
            self._say(person, HONEST, candidate.verdict.objections)
            rows += [
                Judged(
                    person.name,
                    HONEST,
                    share,
                    self._between(learner, learner.parent, candidate.packed, share),
                )
                for share in self._options.honest_shares
            ]
        learner, honest = learners[-1], trained[-1]
        adapter = self._read(honest.packed)
        for kind, damage in DAMAGES.items():
            damaged = self._damaged(honest, damage(person, other))
            for share in self._options.shares:
                objections = self._between(learner, adapter, damaged, share)
                rows.append(Judged(person.name, kind, share, objections))
                self._say(person, f"{kind}, {share:g}", objections)
        return rows

    def _learner(self, person: Person, parent: str | None, memory: MemoryUse, *, seed: int) -> Learner:
        log, feedback = person.log(self._runs.base_fingerprint, is_first=parent is None)
        options = TrainingOptions(rank=RANK if parent is None else None, seed=seed)
        job = TrainingJob(
            person.model,
            0 if parent is None else 1,
            options,
            "running",
            "",
            0,
            log_range=(0, len(log)),
            feedback_until_ms=len(log),
            parent=parent,
        )
        suite = () if parent is None else person.suite
        data = TrainingData(log, feedback, suite=suite, served=parent, memory=memory)
        return self._runs.make(job, b"", data, None).learner

    def _candidate(self, learner: Learner) -> Candidate:
        [outcome] = self._trainer.train([learner], TrainerProgress()).values()
        if not isinstance(outcome, Candidate):
            raise outcome
        return outcome

    def _published(self, candidate: Candidate) -> str:
        with self._revisions.adding():
            self._revisions.add(candidate.packed)
        return PackedAdapter(memoryview(candidate.packed)).digest

    def _damaged(self, honest: Candidate, taught: Taught) -> bytearray:
        """Train the honest candidate on a little more; what it learns is not anchored to anything."""
        encoded = [self._runs.encoder.sequence((Message("user", ask),), reply) for ask, reply in taught]
        curriculum = SupervisedCurriculum([sequence for sequence in encoded if sequence is not None])
        steps = StepOptions(self._options.steps, learning_rate=DAMAGE_RATE, warm_up=2)
        session = TrainingSession("damaged", self._read(honest.packed), steps)
        while session.step < self._options.steps:
            [outcome] = take_step(self._runs.base, [(session, curriculum.objective(session, DAMAGE_BATCH))])
            if not isinstance(outcome, StepReport):
                raise outcome
        return session.adapter.pack(self._runs.base.fingerprint, self._runs.base.dtype)

    def _between(
        self, learner: Learner, before: TrainableAdapter | None, after: bytes | bytearray, share: float
    ) -> tuple[str, ...]:
        """Judge the weights at a share of the way as the trainer judges what it has trained to the end."""
        adapter = self._read(after)
        adapter.set_between(None if before is None else before.factors(), adapter.factors(), share)
        done = TrainingSession(learner.name, adapter, StepOptions(steps=0))
        return self._candidate(replace(learner, session=done)).verdict.objections

    def _read(self, packed: bytes | bytearray) -> TrainableAdapter:
        return TrainableAdapter.of_packed(packed, self._runs.base.modules, rank_max=16)

    def _say(self, person: Person, what: str, objections: Sequence[str]) -> None:
        self._console.print(
            f"{person.name}, {what}: {'; '.join(objections) or 'promoted'}", highlight=False, markup=False
        )


def main() -> None:
    options = _options()
    console = Console()
    # SIGTERM is handled as Ctrl-C, which also ends the engine's process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    enter_quiet_environment()
    base = prepare_base(None, Settings.from_environment().cache)
    module = find_memory_module(None, base.fingerprint)
    engines: list[OwnedEngine] = []

    async def start() -> OwnedEngine:
        engines.append(
            await start_in_process(
                base,
                context_tokens=CONTEXT_TOKENS,
                memory_module=None if module is None else module.path,
            )
        )
        return engines[0]

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gate-") as folder:
        revisions = RevisionFiles(Path(folder) / "revisions")
        with engine_sampler(start, revisions) as sampler:
            loaded = load_trainer(
                base.directory,
                base.fingerprint,
                revisions,
                gate=GateRule(),
                rank_max=16,
                sampler=sampler,
                memory_module=None if module is None else module.path,
            )
            prompts = [(Message("user", request),) for request in REQUESTS]
            sentences = sampler.answers(None, prompts, tokens_max=SENTENCE_TOKENS)
            # One more than are judged, so that there is somebody else's data for each.
            people = people_of(options.people + 1, REQUESTS, [one.reply for one in sentences])
            planter = Planter(loaded, revisions, options, console)
            rows = _kept(options.json)
            for person, other in itertools.pairwise(people):
                if any(row.person == person.name for row in rows):
                    continue
                memory = _on(sampler, _told(engines[0], person))
                rows += planter.judged(person, other, memory)
                _keep(options.json, rows)
    console.print(f"{len(rows)} candidates in {(time.monotonic() - began) / 60:.0f} minutes.")
    _print(console, rows)


def _kept(path: Path | None) -> list[Judged]:
    """Read the verdicts of an earlier run with the same options."""
    if path is None or not path.exists():
        return []
    return [Judged(**row | {"objections": tuple(row["objections"])}) for row in json.loads(path.read_bytes())]


def _keep(path: Path | None, rows: Sequence[Judged]) -> None:
    if path is not None:
        path.write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n", encoding="utf-8")


def _on(sampler: EngineSampler, work: Awaitable[MemoryUse]) -> MemoryUse:
    async def run() -> MemoryUse:
        return await work

    return asyncio.run_coroutine_threadsafe(run(), sampler.loop).result()


async def _told(engine: OwnedEngine, person: Person) -> MemoryUse:
    """Have the person talk for some turns, and return how later replies read the memory of them."""
    state: bytes | None = None
    for number in range(TOLD_TURNS if engine.base.memory_module is not None else 0):
        request = GenerateRequest(
            f"{person.name}-{number}",
            (Message("user", person.requests[number]),),
            Sampling(16, temperature=0.0),
            stream=False,
            memory=MemoryUse(state),
        )
        async with aclosing(engine.generate(request)) as deltas:
            state = joined([delta async for delta in deltas]).memory
    return MemoryUse(state, new_from=None)


def objection_of(objection: str) -> str:
    """Return the name of an objection, ``another`` if it is not known."""
    return next((name for begins, name in OBJECTIONS.items() if objection.startswith(begins)), "another")


def _print(console: Console, rows: Sequence[Judged]) -> None:
    kinds = list(dict.fromkeys(row.kind for row in rows))
    table = Table("candidates", "judged", "refused [95 %]", "objections")
    for kind in kinds:
        of_kind = [row for row in rows if row.kind == kind]
        refused = [bool(row.objections) for row in of_kind]
        made = Counter(name for row in of_kind for name in {objection_of(said) for said in row.objections})
        table.add_row(
            kind,
            str(len(of_kind)),
            f"{sum(refused)}, {share_of(refused).percent}",
            ", ".join(f"{name} {count}" for name, count in made.most_common()),
        )
    console.print(table)
    shares = sorted({row.share for row in rows if row.kind != HONEST})
    by_share = Table("refused at the share", *(f"{share:g}" for share in shares))
    for kind in kinds:
        if kind != HONEST:
            found = [[row for row in rows if (row.kind, row.share) == (kind, share)] for share in shares]
            by_share.add_row(
                kind, *(f"{sum(bool(row.objections) for row in some)} of {len(some)}" for some in found)
            )
    console.print(by_share)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="What does the evaluation gate catch, and whom does it wrong?"
    )
    parser.add_argument("--people", type=int, default=2, help="1 to 3 (default: 2)")
    parser.add_argument("--seeds", type=int, default=2, help="honest trainings of each (default: 2)")
    parser.add_argument("--steps", type=int, default=12, help="steps of damage (default: 12)")
    parser.add_argument(
        "--shares",
        type=float,
        nargs="+",
        default=[0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
        help="of the way to the damaged weights (default: 0.3 to 1)",
    )
    parser.add_argument(
        "--honest-shares",
        type=float,
        nargs="+",
        default=[0.9, 0.925, 0.95, 0.975, 1.0],
        help="of the way from the parent (default: 0.9 to 1)",
    )
    parser.add_argument("--few", action="store_true", help="one person, one training, one share of each")
    parser.add_argument("--json", type=Path, help="write every verdict to this file")
    options = parser.parse_args()
    if options.few:
        options.people, options.seeds, options.shares, options.honest_shares = 1, 1, [1.0], [1.0]
    return options


if __name__ == "__main__":
    main()
