"""Measures what this process takes of its machine, for the metrics."""

import psutil

from populace.actors.process_use import ProcessUse


def process_use() -> ProcessUse:
    """Measure this process, without its children: about 50 microseconds."""
    process = psutil.Process()
    with process.oneshot():
        spent = process.cpu_times()
        return ProcessUse(spent.user + spent.system, process.memory_info().rss)
