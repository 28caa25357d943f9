"""Detects this machine's cores and GPU, for the defaults of settings."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from populace.policies.engine_devices import PROCESSOR, Card, Profile, profile_of

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
ANSWER_SECONDS_MAX = 20.0
"""A driver that was not used since the machine started takes some seconds."""


@cache
def has_gpu() -> bool:
    """Return whether this machine has a GPU that vLLM uses: whether its driver's tool lists one.

    A container may have the tool and no GPU. Asked once in a process.
    """
    return "GPU" in (_asked_of_driver("--list-gpus") or "")


def memory_bytes() -> int:
    """Return the memory that this process may have: the machine's, or less if its container has a limit."""
    total = psutil.virtual_memory().total
    try:
        return min(total, int(CONTAINER_LIMIT.read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return total


@cache
def cards() -> tuple[Card, ...]:
    """Return the GPUs of this machine, as its driver's tool lists them; none if it does not."""
    query = ["--query-gpu=memory.total,compute_cap", "--format=csv,noheader,nounits"]
    listed = _asked_of_driver(*query) if has_gpu() else None
    found: list[Card] = []
    for line in (listed or "").splitlines():
        # A card that is split, or an old driver, has no numbers there.
        if match := re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\.(\d+)\s*", line):
            mib, major, minor = (int(number) for number in match.groups())
            found.append(Card(mib * 2**20, (major, minor)))
    return tuple(found)


def _asked_of_driver(*arguments: str) -> str | None:
    """Return what the driver's tool prints; None if there is none, or it fails."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    try:
        listed = subprocess.run(
            [command, *arguments], capture_output=True, text=True, timeout=ANSWER_SECONDS_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return listed.stdout if listed.returncode == 0 else None


def torch_is_for_cpus() -> bool:
    """Return whether the torch that is installed finds no GPU whatever the machine has; imports nothing."""
    return version("torch").endswith("+cpu")


def physical_cores() -> int:
    """Count the physical cores this process may run on, hyperthreads of one core counted once."""
    if not hasattr(os, "sched_getaffinity"):
        return psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    return len({_siblings(cpu) for cpu in allowed}) or 1


def hosts_default(cores: int) -> int:
    """Return one host process per four cores, and at least one: a host needs little beside an engine."""
    return max(1, cores // 4)


def threads_default(cores: int, given: Mapping[str, Any]) -> int:
    """Share the cores among the replicas that were ``given``; returns the threads of each."""
    return max(1, cores // given.get("replicas", 1))


def engine_profile(given: Mapping[str, Any]) -> Profile:
    """Return the default sizes of engines with the settings that were ``given``.

    Where another machine has the GPU, nothing is known of it, and a small one is supposed.
    """
    device = given.get("engine_device", "auto")
    if given.get("engine") == "torch" or device == "cpu" or (device == "auto" and not has_gpu()):
        return PROCESSOR
    return profile_of(min((card.bytes for card in cards()), default=None))


def adapter_slots_default(given: Mapping[str, Any]) -> int:
    """Return one slot per concurrent request where slots cost nothing; on a GPU each is padded memory."""
    profile = engine_profile(given)
    return given.get("sequences_max", profile.slots) if profile is PROCESSOR else profile.slots


def _siblings(cpu: int) -> str:
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return path.read_text().strip()
    except OSError:
        return str(cpu)
