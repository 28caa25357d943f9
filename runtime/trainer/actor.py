# pyright: reportUnknownMemberType=false
# Ray's API is partly untyped.
"""The trainer as a Ray actor: a process of its own, which Ray starts again when it dies.

Its only inputs are logs and jobs, which it reads from the hosts; its only outputs are revisions.
"""

import asyncio
import logging
import os
import threading
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import ray

from populace.actors.engine import BaseInfo
from populace.actors.process_use import ProcessUse
from populace.actors.training import TrainingJobs, UnsettledFeedback
from populace.actors.training_options import TrainingOptions
from populace.engines.client import ReplicaEngine
from populace.hosting.directory.directory import Directory
from populace.hosting.host_client import connect_host
from populace.hosting.messages import NAMESPACE
from populace.hosting.store_node import Home, own_base, own_module, own_settings, own_telemetry, placed
from populace.policies.consolidation import ConsolidationRule, consolidation, training_order
from populace.policies.diversity.probes import DIGEST
from populace.policies.evaluation_gate import GateRule, RollbackRule, should_roll_back
from populace.settings.errors import SETTINGS_REFUSED
from populace.settings.settings import TrainingPriority
from populace.settings.signals import end_with_parent
from populace.storage.journal.journaled_files import stored_adapters
from populace.storage.records.errors import PopulaceError
from populace.storage.revisions import RevisionFiles
from populace.storage.training.sessions import SessionFiles
from populace.storage.uploads.upload_files import UploadFiles
from populace.telemetry.options import TelemetryOptions
from populace.telemetry.tracing.own_process import own_process_use
from populace.telemetry.tracing.setup import telemetry_setup
from populace.trainer.keeping import KeptSessions


class Consolidator:
    """Decides on trainings and rollbacks. ``look`` may be called at any time; repeating it has no effect."""

    def __init__(
        self, jobs: TrainingJobs, *, rule: ConsolidationRule, rollback: RollbackRule, trains: bool = True
    ) -> None:
        """Make a consolidator; without ``trains`` it only rolls revisions back."""
        self._jobs = jobs
        self._rule = rule
        self._rollback = rollback
        self._trains = trains

    async def look(self) -> None:
        """Act on a page of unsettled feedback; a model for which this fails is retried later."""
        found = {
            f"{feedback.model.tenant}/{feedback.model.name}": feedback
            for feedback in await self._jobs.unsettled()
        }
        for name in training_order({name: feedback.standing for name, feedback in found.items()}):
            try:
                await self._look_at(found[name])
            except PopulaceError as error:
                logger.info("%s is looked at again: %s", found[name].model, error)

    async def _look_at(self, found: UnsettledFeedback) -> None:
        if found.serving is not None and should_roll_back(found.of_parent, found.of_serving, self._rollback):
            await self._jobs.roll_back(found.model, found.serving)
            logger.info(
                "%s gave %s back: %d of %d replies were liked, of its parent's %d of %d",
                found.model,
                found.serving[:12],
                found.of_serving.good,
                found.of_serving.total,
                found.of_parent.good,
                found.of_parent.total,
            )
            return
        decision = consolidation(found.standing, self._rule)
        if decision.due and self._trains:
            # The key allows one training for each log position and amount of feedback.
            key = f"consolidation-{found.standing.position}-{found.given}"
            await self._jobs.ask(found.model, TrainingOptions(), key)
            logger.info("%s is trained: %s", found.model, decision.reason)
        elif found.standing.judged == 0 and not (decision.due or decision.waits):
            await self._jobs.settle(found)


logger = logging.getLogger(__name__)

TRAINER = "populace-trainer"
POLL_SECONDS = 1.0
LOOK_SECONDS = 15.0
STOP_SECONDS_MAX = 20.0
NICE_MAX = 19
"""How long ``close`` waits for the current step, and for the sessions to be written."""

IDLE_SECONDS_MAX = 600.0


class TeacherOptions(NamedTuple):
    """The endpoint of a teacher, the model's name there, and the API key that it wants."""

    url: str
    model: str
    key: str | None


class TrainerOptions(NamedTuple):
    """How to start a trainer. ``automatic`` also trains models that are due without a request.

    ``master_key`` is the file of the key that wraps those of uploaded files, None the one in the store.
    ``gpu_share`` is what the trainer has of a GPU, 0 for the processor alone. ``kept_bytes_max`` bounds what
    kept trainings take, 0 for none. ``teacher`` answers what is asked again and again, None for the base.
    ``replies_directory`` keeps the base's replies to general requests.
    """

    hosts: int
    shards: int
    data_directory: str
    base: BaseInfo
    base_directory: str
    rank_max: int
    priority: TrainingPriority
    automatic: bool
    memory_module: Path | None
    master_key: Path | None
    kept_bytes_max: int = 0
    teacher: TeacherOptions | None = None
    telemetry: TelemetryOptions | None = None
    replies_directory: Path | None = None
    home: Home | None = None
    gpu_share: float = 0.0

    def on_this_node(self) -> "TrainerOptions":
        """Return the options with the paths of the node that this process is on.

        Raises ``SETTINGS_REFUSED``.
        """
        own = own_settings(self.home)
        if own is None:
            return self
        replies = self.replies_directory
        return self._replace(
            data_directory=str(own.data),
            base_directory=str(own_base(own, self.base.fingerprint)),
            memory_module=own_module(own, self.base),
            master_key=own.master_key,
            replies_directory=None if replies is None else own.cache / replies.parent.name / replies.name,
        )

    def adapters(self) -> RevisionFiles:
        """Return the adapters of the store; those that this node lacks come from the journal, if any."""
        return stored_adapters(
            Path(self.data_directory),
            store_id=None if self.home is None else self.home.store_id,
            journal=None if self.home is None else self.home.journal,
            master_key=self.master_key,
        )


class TrainerActor:
    """Works on jobs from its start to its end, without being called."""

    def __init__(self, options: TrainerOptions) -> None:
        end_with_parent()
        self._end_telemetry = telemetry_setup(own_telemetry(options.home, options.telemetry), "trainer")
        # Applies to threads that start from here on, which are all that compute. A nice thread is waited for
        # at each of the engine's barriers; an idle one is put aside at once.
        if options.priority == "low":
            os.nice(NICE_MAX)
        elif options.priority == "idle":
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        self._options = options
        self._stopping = threading.Event()
        self._loop: Any = None
        self._profiler: Any = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="trainer", daemon=True)
        self._thread.start()

    def process_id(self) -> int:
        return os.getpid()

    def process_use(self) -> ProcessUse:
        """Measure this process; it answers beside the work, as far as it gets processor time."""
        return own_process_use()

    def close(self) -> None:
        """Save the trainings in progress and end; returns when done, or after ``STOP_SECONDS_MAX``."""
        self._stopping.set()
        if self._loop is not None:
            self._loop.stop()
        self._thread.join(STOP_SECONDS_MAX)
        if self._loop is not None:
            self._loop.close()
        self._end_telemetry()

    async def _find_own_options(self) -> TrainerOptions:
        """Return the options with this node's paths. Not in the constructor, which must not raise."""
        while True:
            try:
                return await asyncio.to_thread(self._options.on_this_node)
            except SETTINGS_REFUSED as error:
                logger.error("the trainer cannot work on this node: %s", error)  # noqa: TRY400
                await asyncio.sleep(LOOK_SECONDS)

    async def _run(self) -> None:
        self._options = options = await self._find_own_options()
        clients = [connect_host(index) for index in range(options.hosts)]
        directory = Directory.over(clients, shard_count=options.shards)
        consolidator = Consolidator(
            directory.jobs, rule=ConsolidationRule(), rollback=RollbackRule(), trains=options.automatic
        )
        files = SessionFiles.of_store(Path(options.data_directory))
        kept = KeptSessions(directory.jobs, files, bytes_max=options.kept_bytes_max)
        looked_at, profiled_at, worked_at = -LOOK_SECONDS, -LOOK_SECONDS, 0.0
        while not self._stopping.is_set():
            now = asyncio.get_running_loop().time()
            try:
                if now - looked_at >= LOOK_SECONDS:
                    looked_at = now
                    await consolidator.look()
                    # Also without a job: what was erased since goes from the disk.
                    await kept.sweep()
                if await directory.jobs.open_jobs():
                    await self._open_workshop(directory).round()
                    worked_at = asyncio.get_running_loop().time()
                elif now - profiled_at >= LOOK_SECONDS:
                    # This reads all members, maybe many, so it is repeated at once only if some were due.
                    if await self._are_profiled(directory):
                        worked_at = asyncio.get_running_loop().time()
                    else:
                        profiled_at = now
                elif self._loop is not None and now - worked_at > IDLE_SECONDS_MAX:
                    self._loop.close()
                    # Also frees the base, which takes a gigabyte that is not needed now.
                    self._loop = self._profiler = None
                    await asyncio.to_thread(give_back, options.gpu_share)
            except PopulaceError as error:
                logger.info("the trainer waits: %s", error)
            except Exception:
                # A bug of ours: jobs stay open, and the next round retries them.
                logger.exception("a round of the trainer failed")
                await asyncio.sleep(LOOK_SECONDS)
            await asyncio.sleep(POLL_SECONDS)

    async def _are_profiled(self, directory: Directory) -> bool:
        """Profile some of the members without a profile, if there are any."""
        if not await directory.members.unprofiled(DIGEST, limit=1):
            return False
        self._open_workshop(directory)
        return await self._profiler.round() > 0

    def _open_workshop(self, directory: Directory) -> Any:
        if self._loop is None:
            # Torch is imported only here, once there is something to train.
            from populace.learning.on_policy.sampler import EngineSampler
            from populace.trainer.loading import load_trainer
            from populace.trainer.loop import TrainingLoop
            from populace.trainer.profiler import Profiler
            from populace.trainer.teacher_endpoint import TeacherEndpoint

            options, path = self._options, Path(self._options.data_directory)
            revisions = options.adapters()
            loop, engine = asyncio.get_running_loop(), ReplicaEngine(self._options.base)
            load = cache(
                lambda: load_trainer(
                    Path(options.base_directory),
                    options.base.fingerprint,
                    revisions,
                    gate=GateRule(),
                    rank_max=options.rank_max,
                    gpu_share=options.gpu_share,
                    sampler=EngineSampler(engine, loop, revisions),
                    memory_module=options.memory_module,
                    teacher=None if options.teacher is None else TeacherEndpoint(*options.teacher),
                    replies_directory=options.replies_directory,
                )
            )
            self._profiler = Profiler(directory.members, load=load)
            self._loop = TrainingLoop(
                directory,
                directory.jobs,
                load=load,
                revisions=revisions,
                sessions=SessionFiles.of_store(path),
                uploads=UploadFiles.of_store(path, options.master_key),
                memory_module=options.base.memory_module,
                kept_bytes_max=options.kept_bytes_max,
            )
            if self._stopping.is_set():
                self._loop.stop()
        return self._loop


def give_back(gpu_share: float) -> None:
    """Let engines of the same GPU have what torch keeps of its memory, once nothing is loaded."""
    if gpu_share:
        from populace.trainer.loading import free_device

        free_device()


def start_trainer(
    options: TrainerOptions,
    *,
    environment: dict[str, str],
    nodes: dict[str, str] | None = None,
    preferred: str | None = None,
) -> Any:
    """Create the trainer on a node with these labels, ``preferred`` as long as it lives, or find it.

    Returns its handle and does not wait.
    """
    remote: Any = ray.remote(TrainerActor)
    return remote.options(
        name=TRAINER,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_concurrency=2,
        num_cpus=0,
        num_gpus=options.gpu_share,
        **placed(nodes, preferred),
        runtime_env={"env_vars": environment},
    ).remote(options)
