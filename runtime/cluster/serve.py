"""Starts a Populace on Ray and stops it: hosts, engine replicas, gateway.

A start that fails, or a Ctrl-C at any point of it, leaves no process behind.
"""

import contextlib
import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from populace.actors.engine import EngineKind
from populace.base.memory_module import MemoryModuleFile
from populace.base.prepare import BaseModelFiles, Progress
from populace.cluster.addresses import Report
from populace.cluster.store_opening import served_journal
from populace.cluster.store_side import OwnStore
from populace.settings.credentials import Credentials
from populace.settings.environment import enter_quiet_environment
from populace.settings.errors import SettingsError
from populace.settings.otlp import check_otlp
from populace.settings.running import Running
from populace.settings.settings import Settings
from populace.storage import warm_files

if TYPE_CHECKING:
    # Ray is imported after the cheap checks.
    from populace.cluster.other_store import OtherStore

logger = logging.getLogger(__name__)


class Started(NamedTuple):
    """The addresses and parts of a running Populace, and the directory of its logs.

    ``cluster`` is where other machines join, and the file of the token that they need; None if none is to.
    ``store_node`` is the other node that has the store and these logs, None for this one.
    """

    running: Running
    api_key: str
    base: BaseModelFiles
    engine: EngineKind
    memory: MemoryModuleFile | None
    logs: Path
    cluster: tuple[str, Path] | None = None
    store_node: str | None = None


@contextmanager
def run_cluster(
    settings: Settings, *, report: Report = logger.info, base_progress: Progress | None = None
) -> Generator[Started]:
    """Run a Populace for the time of the block.

    ``report`` is called with each step, ``base_progress`` with the progress of the base model. Raises
    ``SettingsError`` (port in use, no such engine, no address to push to), ``StoreInUse``,
    ``StoreVersionMismatch``, ``StoreInvalid``, ``MasterKeyRefused``, ``BaseInvalid`` and
    ``MemoryModuleInvalid`` before anything is started, and then ``StartFailed``.
    """
    enter_quiet_environment()
    if settings.metrics_push_seconds is not None:
        check_otlp("metrics")
    if settings.trace_target is not None and settings.trace_target[0] == "otlp":
        check_otlp("traces", is_address_named=bool(settings.trace_target[1]))
    engine = choose_engine(settings)
    with contextlib.ExitStack() as stack:
        store: OwnStore | OtherStore
        if settings.ray_address is None:
            ray_address = None
            store = stack.enter_context(OwnStore(settings, report, base_progress))
        else:
            ray_address, store = enter_ray(settings, stack, report, base_progress)
        side = store.open(engine)
        # Heavy imports, which come only after the cheap checks have passed.
        from populace.cluster.engine_plan import plan_engines
        from populace.cluster.former_parts import refuse_second, replace_former
        from populace.cluster.ray_parts import ensure_key, run_population, run_ray

        # Runs last, because replicas that Ray had to kill leave their adapters' images behind.
        stack.callback(warm_files.sweep, warm_files.warm_root(settings.warm_directory))
        if ray_address is None:
            report("Starting Ray")
            ray_address = stack.enter_context(run_ray(settings))
            if settings.cluster_port is not None:
                report(f"Other machines may join at {ray_address}")
        # Once more, as the base may have taken minutes: hosts of the other one would be of a former run.
        refuse_second()
        # Before anything of a former run ends, as it may refuse.
        plan = plan_engines(side, engine, report)
        side = plan.side
        journal = store.begin_run(side.store_id)
        replace_former(side.store_id, served_journal(settings), report)
        if settings.ray_address is not None:
            # What an earlier one left in that Ray may have had the data directory, and the port.
            store.take()
        directory = stack.enter_context(run_population(plan, engine, journal, report))
        token = None if settings.ray_address else str(settings.cluster_token)
        running = Running(ray_address, side.url, os.getpid(), side.store_id, token)
        api_key = ensure_key(directory, Credentials(settings.config), side.store_id)
        store.note(running)
        stack.callback(store.remove_note)
        logger.info("ready at %s with the %s engine", running.url, engine)
        cluster = None if settings.cluster_port is None else (ray_address, settings.cluster_token)
        logs = side.telemetry.directory
        yield Started(running, api_key, side.base, engine, side.memory, logs, cluster, store.place)


def enter_ray(
    settings: Settings, stack: contextlib.ExitStack, report: Report, base_progress: Progress | None
) -> "tuple[str, OwnStore | OtherStore]":
    """Join the Ray that the settings name, until the stack ends; return its address, and where the store is.

    What a ``populace serve`` that is gone left there goes on. Raises ``ClusterNotFound``, and ``StartFailed``
    if another one serves, or if several nodes have stores that are not one.
    """
    from populace.cluster.former_parts import refuse_second
    from populace.cluster.other_store import OtherStore, store_place
    from populace.cluster.ray_parts import run_ray

    address = stack.enter_context(run_ray(settings))
    refuse_second()
    place = store_place(settings, report)
    if place is None:
        return address, stack.enter_context(OwnStore(settings, report, base_progress))
    return address, stack.enter_context(OtherStore(place, settings))


def choose_engine(settings: Settings) -> EngineKind:
    """Decide which engine the replicas run; raises ``SettingsError`` if vLLM was asked for and is missing."""
    has_vllm = find_spec("vllm") is not None
    if settings.engine == "vllm" and not has_vllm:
        raise SettingsError(
            "POPULACE_ENGINE", "vllm", "vLLM is not installed; run `make install`, or use torch"
        )
    engine: EngineKind = "vllm" if has_vllm else "torch"
    if settings.engine != "auto":
        engine = settings.engine
    if engine == "torch" and settings.engine_device == "gpu":
        raise SettingsError("POPULACE_ENGINE_DEVICE", "gpu", "the torch engine computes on CPUs; use vLLM's")
    return engine
