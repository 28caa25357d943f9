"""What this machine has, for the defaults of settings: its cores and whether it has a GPU."""

import os
import shutil
from pathlib import Path

import psutil


def has_gpu() -> bool:
    """Return whether this machine has a GPU that vLLM uses."""
    return shutil.which("nvidia-smi") is not None


def physical_cores() -> int:
    """Count the physical cores this process may run on, hyperthreads of one core counted once."""
    if not hasattr(os, "sched_getaffinity"):
        return psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    return len({_siblings(cpu) for cpu in allowed}) or 1


def _siblings(cpu: int) -> str:
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return path.read_text().strip()
    except OSError:
        return str(cpu)
