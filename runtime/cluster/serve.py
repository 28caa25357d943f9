"""Starts a Populace on Ray and stops it: hosts, engine replicas, gateway.

A start that fails, or a Ctrl-C at any point of it, leaves no process behind.
"""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import NamedTuple

import psutil

from populace.base.memory_module import MemoryModuleFile, find_memory_module
from populace.base.prepare import BaseModelFiles, Progress, prepare_base
from populace.settings.credentials import Credentials
from populace.settings.running import Running, read_note, remove_running, write_running
from populace.settings.settings import Settings, SettingsError, enter_quiet_environment
from populace.storage import warm_files
from populace.storage.directory_lock import DirectoryLock
from populace.storage.store import Store

logger = logging.getLogger(__name__)

Report = Callable[[str], None]

PORT_SECONDS_MAX = 30.0
"""How long the processes of a Populace that was killed may take to end."""
POLL_SECONDS = 0.2


class Started(NamedTuple):
    """The addresses and parts of a running Populace."""

    running: Running
    api_key: str
    base: BaseModelFiles
    engine: str
    memory: MemoryModuleFile | None


@contextmanager
def run_cluster(
    settings: Settings, *, report: Report = logger.info, base_progress: Progress | None = None
) -> Generator[Started]:
    """Run a Populace for the time of the block.

    ``report`` is called with each step, ``base_progress`` with the progress of the base model. Raises
    ``SettingsError`` (port in use, no such engine), ``StoreInUse``, ``StoreVersionMismatch``,
    ``StoreInvalid``, ``MasterKeyRefused``, ``BaseInvalid`` and ``MemoryModuleInvalid`` before anything is
    started, and then ``StartFailed``.
    """
    enter_quiet_environment()
    owner = f"populace serve at {http_url(settings)}"
    if settings.data.is_dir():
        # A second Populace must report that the first one runs, and not that its port is taken.
        DirectoryLock(settings.data, owner).release()
    wait_for_port(settings, report)
    engine = choose_engine(settings)
    settings.data.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(DirectoryLock(settings.data, owner))
        store = Store.create_or_open(settings.data, shards=settings.shards, master_key=settings.master_key)
        base = prepare_base(
            settings.base, settings.cache, progress=base_progress, allow_hub=settings.base is not None
        )
        memory = find_memory_module(settings.memory_module, base.fingerprint)
        # Heavy imports, which come only after the cheap checks have passed.
        from populace.cluster.ray_parts import ensure_key, run_population, run_ray

        # Runs last, because replicas that Ray had to kill leave their adapters' images behind.
        stack.callback(warm_files.sweep, warm_files.warm_root())
        report("Starting Ray")
        ray_address = stack.enter_context(run_ray(settings))
        directory = stack.enter_context(run_population(settings, store, base, engine, memory, report))
        running = Running(ray_address, http_url(settings), os.getpid(), store.store_id)
        api_key = ensure_key(directory, Credentials(settings.config), store.store_id)
        write_running(settings.data, running)
        stack.callback(remove_running, settings.data)
        yield Started(running, api_key, base, engine, memory)


def choose_engine(settings: Settings) -> str:
    """Decide ``vllm`` or ``torch``; raises ``SettingsError`` if vLLM was asked for and is missing."""
    has_vllm = find_spec("vllm") is not None
    if settings.engine == "vllm" and not has_vllm:
        raise SettingsError(
            "POPULACE_ENGINE", "vllm", "vLLM is not installed; run `make install`, or use torch"
        )
    if settings.engine == "auto":
        return "vllm" if has_vllm else "torch"
    return settings.engine


def wait_for_port(settings: Settings, report: Report, *, seconds_max: float = PORT_SECONDS_MAX) -> None:
    """Raise ``SettingsError`` if the port cannot be listened on.

    If this data directory's last Populace was killed, its gateway listens until Ray has noticed: that is
    waited for, at most ``seconds_max``.
    """
    note = read_note(settings.data)
    was_ours = note is not None and note.url == http_url(settings) and not psutil.pid_exists(note.pid)
    give_up = time.monotonic() + (seconds_max if was_ours else 0.0)
    is_reported = False
    while True:
        try:
            return check_port(settings.host, settings.port)
        except SettingsError:
            if time.monotonic() >= give_up:
                raise
        if not is_reported:
            report("Waiting for the Populace that was killed to leave the port")
            is_reported = True
        time.sleep(POLL_SECONDS)


def check_port(host: str, port: int) -> None:
    """Raise ``SettingsError`` if the port cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            allowed = f"{reason}; stop the program that uses it or choose another with --port"
            raise SettingsError("POPULACE_PORT", str(port), allowed) from None


def http_url(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
