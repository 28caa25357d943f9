"""``populace bench catalogue``: turns of a million identities that share ten thousand adapters on disk.

Each identity has one of the adapters as its revision. Every figure is measured first with a hundredth of
the identities and adapters, because none of them may grow with their number.
"""

import asyncio
import random
import tempfile
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import psutil

from populace.actors.engine import AdapterRef, BaseInfo
from populace.actors.hosts import Revision
from populace.actors.turn import TurnGrant, TurnRequest
from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.adapters.random_adapter import pack_random_adapter
from populace.base.prepare import BaseModelFiles, prepare_base
from populace.hosting.directory.directory import Directory
from populace.settings.settings import Settings
from populace.storage.records.files import forget_cached
from populace.storage.revisions import RevisionFiles
from populace.storage.store import Store
from scripts.bench.engine_process import PopulaceEngine, RunningEngine, running_engine
from scripts.bench.engine_sides import Side, Start, draw_prompt
from scripts.bench.one_host import OneHost, Report, disk_bytes, many, model, running_ray
from scripts.bench.private_memory import Memory
from scripts.bench.report import Aim, BenchReport, Row, percentile

SMALLER = 100
"""The first catalogue has this many times fewer identities and adapters."""

GROWTH_MAX = 1.25
"""Largest aimed-at ratio of a figure of the whole catalogue to that of the smaller one."""


@dataclass(frozen=True, slots=True)
class CatalogueBench:
    """Sizes of the catalogue and of the samples that are measured.

    ``n`` identities share ``adapters``; of random ones, ``audits`` are checked byte for byte, ``lookups`` are
    looked up and ``asks`` are asked for a token.
    """

    n: int = 1_000_000
    adapters: int = 10_000
    audits: int = 1000
    lookups: int = 5000
    asks: int = 64

    def smaller(self) -> "CatalogueBench":
        """Return the catalogue of a ``SMALLER``-th of the identities and adapters."""
        adapters = max(self.asks, self.adapters // SMALLER)
        return replace(self, n=max(adapters, self.n // SMALLER), adapters=adapters)

    def adapter_of(self, identity: int) -> int:
        """Return the index of an identity's adapter; neighbouring identities have different ones."""
        return identity * 7919 % self.adapters


class _Figures(NamedTuple):
    """The measurements of one catalogue: median times in seconds, private memory and sizes in bytes."""

    adapters_per_s: float
    identities_per_s: float
    adapter_bytes: int
    disk_bytes: int
    wrong: int
    look_up: float
    activate: float
    first_cool: float
    first_again: float
    host_bytes: int
    engine_bytes: int


class _Asked(NamedTuple):
    """The seconds until a turn was granted, and from then until its first token."""

    granted: float
    first: float


def bench_catalogue(bench: CatalogueBench, settings: Settings, where: Path, report: Report) -> BenchReport:
    """Build both catalogues in a temporary directory under ``where`` and measure them. Needs vLLM."""
    base = prepare_base(settings.base, settings.cache, allow_hub=False)
    figures: dict[int, _Figures] = {}
    with running_ray(), tempfile.TemporaryDirectory(prefix="populace-", dir=where) as folder:
        for catalogue in (bench.smaller(), bench):
            figures[catalogue.n] = asyncio.run(
                _measure(
                    catalogue,
                    settings,
                    base,
                    Path(folder) / str(catalogue.n),
                    lambda step, part, n=catalogue.n: report(f"{n:,}: {step}", part),
                )
            )
    return _compare(bench, figures)


async def _measure(
    bench: CatalogueBench, settings: Settings, base: BaseModelFiles, path: Path, report: Report
) -> _Figures:
    modules = read_base_modules(base.directory, base.fingerprint)
    host = OneHost(path, BaseInfo(base.name, base.fingerprint, settings.context_tokens))
    directory, files = host.directory(), Store.adapters(path)
    began = time.perf_counter()
    digests, adapter_bytes = await asyncio.to_thread(_write_adapters, bench, modules, files, report)
    adapters_s = time.perf_counter() - began

    began = time.perf_counter()
    await many(
        bench.n, lambda index: _create(directory, bench, digests, base.fingerprint, index), "creating", report
    )
    identities_s = time.perf_counter() - began

    await host.restart()  # so that its memory is what serving takes, without what building left behind
    chance = random.Random(bench.n)  # noqa: S311 - a sample, not a secret
    report("Auditing", 0.0)
    wrong = sum(
        [
            await _is_wrong(bench, directory, files, modules, digests, chance.randrange(bench.n))
            for _ in range(bench.audits)
        ]
    )
    chosen = [model(chance.randrange(bench.n)) for _ in range(bench.lookups)]
    looked_up = await many(
        len(chosen), lambda number: directory.show_model(chosen[number]), "looking up", report, concurrency=1
    )
    report("Starting the engine", 0.0)
    side = Side("ours", stock=False, slots=settings.adapter_slots, warm_bytes_max=settings.warm_bytes_max)
    common = Start(base.directory, base.fingerprint, (), settings.context_tokens, 8, settings.threads)
    with running_engine(side, common) as engine:
        report("Asking", 0.5)
        asked = _of_distinct_adapters(bench, chance)
        cool = [await _ask(directory, engine, files, identity) for identity in asked]
        again = [await _ask(directory, engine, files, identity) for identity in asked[-4:] for _ in range(4)]
        engine_bytes = engine.run(_private_bytes)
    figures = _Figures(
        adapters_per_s=bench.adapters / adapters_s,
        identities_per_s=bench.n / identities_s,
        adapter_bytes=adapter_bytes,
        disk_bytes=await asyncio.to_thread(disk_bytes, path),
        wrong=wrong,
        look_up=percentile(looked_up, 50),
        activate=percentile([turn.granted for turn in cool], 50),
        first_cool=percentile([turn.first for turn in cool], 50),
        first_again=percentile([turn.first for turn in again], 50),
        host_bytes=host.private_bytes(),
        engine_bytes=engine_bytes,
    )
    host.stop()
    return figures


def _write_adapters(
    bench: CatalogueBench, modules: BaseModules, files: RevisionFiles, report: Report
) -> tuple[list[str], int]:
    """Write distinct adapters of equal size; return their digests, and the size of one in bytes."""
    digests: list[str] = []
    size = 0
    for number in range(bench.adapters):
        digest, size = files.add(pack_random_adapter(modules, seed=number))
        digests.append(digest)
        if number % 100 == 0:
            report("Writing adapters", number / bench.adapters)
    return digests, size


async def _create(
    directory: Directory, bench: CatalogueBench, digests: list[str], base: str, identity: int
) -> None:
    digest = digests[bench.adapter_of(identity)]
    revision = Revision(digest, base, "imported", None, 1, 0, 0)
    await directory.create_model(model(identity), revision)


async def _is_wrong(
    bench: CatalogueBench,
    directory: Directory,
    files: RevisionFiles,
    modules: BaseModules,
    digests: list[str],
    identity: int,
) -> bool:
    """Return whether the identity's revision is not the one it was created with, or its file differs."""
    number = bench.adapter_of(identity)
    view = await directory.show_model(model(identity))
    if view.aliases != {"latest": digests[number]}:
        return True
    content = files.path(view.aliases["latest"]).read_bytes()
    return content != bytes(pack_random_adapter(modules, seed=number))


def _of_distinct_adapters(bench: CatalogueBench, chance: random.Random) -> list[int]:
    """Draw identities that all have different adapters."""
    chosen: dict[int, int] = {}
    while len(chosen) < min(bench.asks, bench.adapters, bench.n):
        identity = chance.randrange(bench.n)
        chosen.setdefault(bench.adapter_of(identity), identity)
    return list(chosen.values())


async def _ask(directory: Directory, engine: RunningEngine, files: RevisionFiles, identity: int) -> _Asked:
    """Take a turn as far as its first token, with the adapter's file out of the page cache."""
    draw = random.Random()  # noqa: S311 - a prompt that no cache has seen
    began = time.perf_counter()
    grant = await directory.begin_turn(TurnRequest(model(identity), f"ask-{draw.random()}", b""))
    granted = time.perf_counter()
    assert isinstance(grant, TurnGrant)
    assert grant.adapter is not None
    forget_cached(files.path(grant.adapter.digest))
    first = await asyncio.to_thread(engine.run, _first_token, grant.adapter, draw_prompt(draw))
    await directory.abandon_turn(grant, "it was asked for one token")
    return _Asked(granted - began, first)


async def _first_token(engine: PopulaceEngine, adapter: AdapterRef, prompt: tuple[int, ...]) -> float:
    """Return the seconds until the first token; runs in the engine's process."""
    began = time.perf_counter()
    async with aclosing(engine.tokens_of(adapter, prompt, 1)) as counts:
        async for _ in counts:
            pass
    return time.perf_counter() - began


async def _private_bytes(engine: PopulaceEngine) -> int:
    """Return the private memory of the engine's process and of its children; runs in that process."""
    del engine
    own = psutil.Process()
    return sum(Memory.of(process).private_bytes for process in (own, *own.children(recursive=True)))


def _compare(bench: CatalogueBench, figures: dict[int, _Figures]) -> BenchReport:
    small, large = figures[bench.smaller().n], figures[bench.n]
    result = BenchReport(
        "catalogue",
        notes=[
            f"{bench.smaller().n:,} identities over {bench.smaller().adapters:,} adapters,",
            f"then {bench.n:,} over {bench.adapters:,}, of {large.adapter_bytes:,} bytes each.",
            "audit: the revision of a random identity and every byte of its file are as they were written.",
            "activate: from an idle identity to a granted turn. cool: the adapter is read from the disk.",
            "Times are medians. Memory is private, without the pages of files; the host restarts after the",
            "catalogue is built and before its memory is measured.",
        ],
    )
    rows: tuple[tuple[str, float, float, int], ...] = (
        ("adapters written/s", small.adapters_per_s, large.adapters_per_s, 0),
        ("identities created/s", small.identities_per_s, large.identities_per_s, 0),
        ("disk, MiB", small.disk_bytes / 2**20, large.disk_bytes / 2**20, 0),
        (f"wrong of {bench.audits:,} audited", small.wrong, large.wrong, 0),
        ("look up, ms", small.look_up * 1000, large.look_up * 1000, 2),
        ("activate, ms", small.activate * 1000, large.activate * 1000, 2),
        ("first token, cool, ms", small.first_cool * 1000, large.first_cool * 1000, 1),
        ("first token, again, ms", small.first_again * 1000, large.first_again * 1000, 1),
        ("host memory, MiB", small.host_bytes / 2**20, large.host_bytes / 2**20, 1),
        ("engine memory, MiB", small.engine_bytes / 2**20, large.engine_bytes / 2**20, 1),
    )
    for what, of_small, of_large, digits in rows:
        row: Row = {"figure": what}
        row[f"{bench.smaller().n:,}"] = round(of_small, digits)
        row[f"{bench.n:,}"] = round(of_large, digits)
        result.rows.append(row)
    result.aims.append(Aim("wrong in the audit", large.wrong, 0, "", at_most=True))
    for name in ("look_up", "activate", "first_cool", "host_bytes", "engine_bytes"):
        growth = getattr(large, name) / getattr(small, name)
        unit = f"x with {SMALLER} times as many"
        result.aims.append(Aim(name.replace("_", " "), round(growth, 3), GROWTH_MAX, unit, at_most=True))
    return result
