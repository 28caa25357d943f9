"""Ray's processes of a machine that joins a cluster, which are started and ended with this process."""

import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import psutil

from populace.settings.environment import process_environment
from populace.settings.settings import Settings
from populace.storage import warm_files
from populace.storage.warm_files import warm_root

OBJECT_STORE_BYTES = 128 * 1024 * 1024
"""Size of Ray's shared memory, on each machine. Messages are small; Ray's default takes a third of it."""

DRAIN_SECONDS_MAX = 20
"""How long a machine that leaves may take to finish the replies that it makes."""
END_SECONDS_MAX = 20.0
"""How long Ray's processes may take to end after that; those that are left are killed."""
LINES_KEPT = 20

PROGRAM = """
from ray._private import utils
from ray.scripts.scripts import main
if utils.detect_fate_sharing_support_linux():
    utils.set_kill_on_parent_death_linux()
main()
"""
"""Ray's command line, which is killed with this process, as Ray's own processes are with it."""


class Raylet:
    """``ray start`` as a child. ``name`` is how the cluster calls this node.

    ``was_left`` is whether ``leave`` ended it.
    """

    def __init__(self, address: str, settings: Settings, labels: Mapping[str, str]) -> None:
        """Use ``raylet``."""
        self.name = f"{socket.gethostname()}-{uuid.uuid4().hex[:6]}"
        self.was_left = False
        self._warm = warm_root(settings.warm_directory)
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        host = settings.cluster_host
        own = [] if host is None else ["--node-ip-address", host]
        told = ",".join(f"{name}={value}" for name, value in labels.items())
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", PROGRAM, "start", "--block", "--disable-usage-stats"),
                *("--address", address, "--node-name", self.name, "--labels", told),
                *("--object-store-memory", str(OBJECT_STORE_BYTES), *own),
            ],
            env=process_environment(
                RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=str(DRAIN_SECONDS_MAX),
                # An option of the command line reaches the processes of this node in no other way.
                POPULACE_DATA=str(settings.data),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A Ctrl-C in the terminal is for this process, which then lets the replies end.
            start_new_session=True,
        )
        # Ray would stop at a full pipe.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    @property
    def last_words(self) -> str:
        """The last lines that Ray printed."""
        return "\n".join(line for line in self._lines if line.strip())

    def leave(self) -> None:
        """Note that this node is no part of its cluster any more, so that its end is no failure."""
        self.was_left = True

    def end(self) -> None:
        """Let the replies of this machine end, then end all of Ray's processes on it, and what they left."""
        family = self._family()
        if self.runs:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(DRAIN_SECONDS_MAX + END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
        _, alive = psutil.wait_procs(family, timeout=END_SECONDS_MAX)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=END_SECONDS_MAX)
        self._process.wait()
        self._reader.join()
        warm_files.sweep(self._warm)

    def _family(self) -> list[psutil.Process]:
        """The processes of this node: children of Ray's, also those that it left behind when it died."""
        return [
            process
            for process in psutil.process_iter()
            if process.pid != os.getpid() and _session_of(process) == self._process.pid
        ]

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            self._lines.extend(lines)


@contextmanager
def raylet(address: str, settings: Settings, labels: Mapping[str, str]) -> Generator[Raylet]:
    """Be a node of the cluster at an address, with these labels, during the block.

    Adapters that killed replicas left in this machine's directory of them are removed before and after it.
    """
    warm_files.sweep(warm_root(settings.warm_directory))
    node = Raylet(address, settings, labels)
    try:
        yield node
    finally:
        node.end()


def _session_of(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:
        return None
