"""Samples of a running soak: the rows of its table, and the largest values of all samples."""

import time
from array import array
from dataclasses import dataclass

import psutil

from scripts.bench.private_memory import Memory
from scripts.bench.report import Row, percentile
from scripts.bench.soak.population import SoakPopulation

MIB = 2**20


@dataclass(slots=True)
class Extremes:
    """The largest values of all samples, including those that are not rows."""

    private_bytes: int = 0
    resident_share: float = 0.0
    reader_slots: int = 0
    long_reads: int = 0
    file_bytes: int = 0


class SoakSamples:
    """The samples of a soak. Attributes beside ``rows`` and ``extremes`` are totals of the last sample."""

    def __init__(self, population: SoakPopulation) -> None:
        self._population = population
        self._times = 0
        self._started = time.monotonic()
        self.rows: list[Row] = []
        self.extremes = Extremes()
        self.full_maps = 0
        self.map_bytes = 0
        self.live_bytes = 0
        self.file_bytes = 0

    async def take(self, step: str, *, is_row: bool) -> None:
        """Take a sample now; ``is_row`` also adds it to the table, as part of ``step``."""
        memory, hosts = Memory.of(psutil.Process()), await self._population.statistics()
        stores = [host.store for host in hosts]
        self.full_maps = sum(store.full_maps for store in stores)
        self.map_bytes = sum(store.map_bytes for store in stores)
        self.file_bytes = sum(store.file_bytes for store in stores)
        free_bytes = sum(store.free_bytes for store in stores)
        self.live_bytes = self.file_bytes - free_bytes
        reader_slots = max(store.reader_slots for store in stores)
        long_reads = sum(store.long_reads for store in stores)

        most = self.extremes
        most.private_bytes = max(most.private_bytes, memory.private_bytes)
        most.resident_share = max(
            most.resident_share, *(host.resident_bytes / host.resident_bytes_max for host in hosts)
        )
        most.reader_slots = max(most.reader_slots, reader_slots)
        most.long_reads = max(most.long_reads, long_reads)
        most.file_bytes = max(most.file_bytes, self.file_bytes)
        if not is_row:
            return
        self.rows.append(
            {
                "step": step,
                "seconds": round(time.monotonic() - self._started, 1),
                "identities": self._population.identities,
                "turns": len(self._population.times),
                **self._latencies(),
                "RSS MiB": _mebibytes(memory.rss_bytes),
                "private MiB": _mebibytes(memory.private_bytes),
                "resident MiB": _mebibytes(sum(host.resident_bytes for host in hosts)),
                "file MiB": _mebibytes(self.file_bytes),
                "free MiB": _mebibytes(free_bytes),
                "map MiB": _mebibytes(self.map_bytes),
                "map share": round(max(store.map_share for store in stores), 3),
                "slots": reader_slots,
                "long reads": long_reads,
                "active": sum(host.active for host in hosts),
                "activations": sum(host.activations for host in hosts),
                "passivations": sum(host.passivations for host in hosts),
                "commits": sum(host.commits for host in hosts),
                "refusals": self._population.refusals,
            }
        )

    def _latencies(self) -> Row:
        times = self._population.times
        recent: array[float] = times[self._times :]
        self._times = len(times)
        if not recent:
            return {"p50 ms": "", "p99 ms": ""}
        return {f"p{p} ms": round(percentile(recent, p) * 1000, 2) for p in (50, 99)}


def _mebibytes(count: int) -> float:
    return round(count / MIB, 1)
