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
from typing import NamedTuple

from populace.actors.engine import EngineKind
from populace.base.memory_module import MemoryModuleFile, find_memory_module
from populace.base.prepare import BaseModelFiles, Progress, prepare_base
from populace.cluster.addresses import Report, http_url, wait_for_port
from populace.encoder.files import EncoderInvalid, is_encoder_prepared, prepare_encoder
from populace.settings.credentials import Credentials
from populace.settings.environment import enter_quiet_environment
from populace.settings.otlp import check_otlp
from populace.settings.running import Running, remove_running, write_running
from populace.settings.settings import Settings, SettingsError
from populace.storage import warm_files
from populace.storage.directory_lock import DirectoryLock
from populace.storage.journal.description import describe
from populace.storage.journal.opening import open_bucket
from populace.storage.store import Store
from populace.telemetry.options import LOGS_DIRECTORY, TRACES_DIRECTORY, TelemetryOptions, TraceOptions
from populace.telemetry.tracing.setup import telemetry_setup

logger = logging.getLogger(__name__)

NAME_KEY_PURPOSE = b"populace-names-in-telemetry"


class Started(NamedTuple):
    """The addresses and parts of a running Populace, and the directory of its logs."""

    running: Running
    api_key: str
    base: BaseModelFiles
    engine: EngineKind
    memory: MemoryModuleFile | None
    logs: Path


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
    owner = f"populace serve at {http_url(settings)}"
    if settings.data.is_dir():
        # A second Populace must report that the first one runs, and not that its port is taken.
        DirectoryLock(settings.data, owner).release()
    wait_for_port(settings, report)
    if settings.metrics_push_seconds is not None:
        check_otlp("metrics")
    if settings.trace_target is not None and settings.trace_target[0] == "otlp":
        check_otlp("traces", is_address_named=bool(settings.trace_target[1]))
    engine = choose_engine(settings)
    settings.data.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(DirectoryLock(settings.data, owner))
        store = Store.create_or_open(settings.data, shards=settings.shards, master_key=settings.master_key)
        if settings.journal is not None:
            report("Looking at the journal")
            describe(open_bucket(settings.journal), store)
        telemetry = telemetry_options(settings, store)
        stack.callback(telemetry_setup(telemetry, "serve"))
        base = prepare_base(
            settings.base, settings.cache, progress=base_progress, allow_hub=settings.base is not None
        )
        memory = find_memory_module(settings.memory_module, base.fingerprint)
        encoder = find_encoder(settings, report)
        # Heavy imports, which come only after the cheap checks have passed.
        from populace.cluster.ray_parts import ensure_key, run_population, run_ray

        # Runs last, because replicas that Ray had to kill leave their adapters' images behind.
        stack.callback(warm_files.sweep, warm_files.warm_root())
        report("Starting Ray")
        ray_address = stack.enter_context(run_ray(settings))
        directory = stack.enter_context(
            run_population(settings, store, base, engine, memory, encoder, report, telemetry)
        )
        running = Running(ray_address, http_url(settings), os.getpid(), store.store_id)
        api_key = ensure_key(directory, Credentials(settings.config), store.store_id)
        write_running(settings.data, running)
        stack.callback(remove_running, settings.data)
        logger.info("ready at %s with the %s engine", running.url, engine)
        yield Started(running, api_key, base, engine, memory, telemetry.directory)


def telemetry_options(settings: Settings, store: Store) -> TelemetryOptions:
    """Return what each process of this Populace tells, and where; names are hashed with the store's key."""
    return TelemetryOptions(
        directory=settings.data / LOGS_DIRECTORY,
        name_key=store.sealing.master_key.derive(store.store_id.encode(), NAME_KEY_PURPOSE),
        log_level=settings.log_level,
        log_format=settings.log_format,
        names_plain=settings.telemetry_content == "names",
        traces=_trace_options(settings),
    )


def find_encoder(settings: Settings, report: Report) -> Path | None:
    """Return the directory of the sentence encoder; None for none, or if the default one cannot be fetched.

    Raises ``EncoderInvalid`` for a directory that a setting names.
    """
    if not is_encoder_prepared(settings.encoder, settings.cache):
        report("Fetching the sentence encoder (83 MB)")
    try:
        return prepare_encoder(settings.encoder, settings.cache)
    except EncoderInvalid as error:
        if settings.encoder is not None:
            raise
        report(f"{error} Words alone decide what questions ask for")
        return None


def _trace_options(settings: Settings) -> TraceOptions | None:
    if settings.trace_target is None:
        return None
    kind, target = settings.trace_target
    if kind == "file":
        target = target or str(settings.data / TRACES_DIRECTORY)
        try:
            Path(target).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                "POPULACE_TELEMETRY", settings.telemetry, f"its folder cannot be made: {error.strerror}"
            ) from error
    return TraceOptions(kind, target, settings.telemetry_sample)


def choose_engine(settings: Settings) -> EngineKind:
    """Decide which engine the replicas run; raises ``SettingsError`` if vLLM was asked for and is missing."""
    has_vllm = find_spec("vllm") is not None
    if settings.engine == "vllm" and not has_vllm:
        raise SettingsError(
            "POPULACE_ENGINE", "vllm", "vLLM is not installed; run `make install`, or use torch"
        )
    if settings.engine == "auto":
        return "vllm" if has_vllm else "torch"
    return settings.engine
