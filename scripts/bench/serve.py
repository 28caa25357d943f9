"""``populace bench serve``: the gateway with personal models compared with ``vllm serve``.

Every server has as much memory for keys and values, and replies with free text and with JSON of a schema.
All servers run during all rounds. Each round measures all of them, in rotated order and each when the others
are idle, so that other load on the machine affects them alike. Medians over the rounds are reported.
"""

import asyncio
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from populace.actors.engine import AdapterRef
from populace.adapters.base_modules import read_base_modules
from populace.adapters.random_adapter import write_random_adapter
from populace.base.prepare import BaseModelFiles, prepare_base
from populace.engines.options import EngineOptions
from populace.engines.vllm_environment import cpu_environment, vllm_environment
from populace.settings.environment import process_environment
from populace.settings.settings import Settings
from populace.storage.revisions import adapter_digest
from scripts.bench.bare_engine import Person, run_bare
from scripts.bench.load import Endpoint, Load, Sample, run_load
from scripts.bench.ports import free_port
from scripts.bench.processes import CpuMeter, child, wait_until_idle, wait_until_ready
from scripts.bench.report import Aim, BenchReport, Row, percentile

THROUGHPUT_AIM = 0.95
FIRST_TOKEN_AIM = 1.10
TUNED = "vllm serve"
DEFAULTS = "vllm serve, as it comes"
POPULACE = "populace"
BARE = "bare engine"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ServeBench:
    """The load of all servers. Stream i uses adapter ``i % adapters``; without adapters all use the base.

    With ``structured`` the least and the most streams are measured with a schema as well.
    """

    streams: tuple[int, ...] = (1, 4, 16)
    rounds: int = 5
    requests: int = 2
    reply_tokens: int = 48
    adapters: int = 4
    structured: bool = True

    @property
    def loads(self) -> tuple[Load, ...]:
        free = [Load(streams, self.requests, self.reply_tokens) for streams in self.streams]
        ends = sorted({min(self.streams), max(self.streams)}) if self.structured else []
        return (
            *free,
            *(Load(streams, self.requests, self.reply_tokens, structured=True) for streams in ends),
        )

    def write_adapters(self, folder: Path, base: Path) -> list[Path]:
        """Write the adapters on the base of this directory, each into a directory of its own."""
        return [
            write_random_adapter(folder / f"adapter-{index}", base, seed=index)
            for index in range(self.adapters)
        ]


class Server(NamedTuple):
    """A running server: its endpoint, and a meter of its processes' CPU time."""

    endpoint: Endpoint
    meter: CpuMeter


class Round(NamedTuple):
    """What one load on one server gave: its samples, the wall seconds, and the CPU seconds by part."""

    samples: list[Sample]
    wall_s: float
    cpu_s: dict[str, float]

    @property
    def tokens_per_s(self) -> float:
        return sum(sample.tokens for sample in self.samples) / self.wall_s


Measured = dict[tuple[str, Load], list[Round]]


def bench_serve(bench: ServeBench, settings: Settings, *, report: Report) -> BenchReport:
    """Start all servers, run all rounds, stop the servers, and compare. Raises ``BenchFailed``."""
    base = prepare_base(settings.base, settings.cache)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        work = Path(folder)
        adapters = bench.write_adapters(work, base.directory)
        servers: dict[str, Server] = {}
        report("Starting vllm serve with this engine's settings")
        servers[TUNED] = stack.enter_context(vllm_serve(settings, base, adapters, work, tuned=True))
        report("Starting vllm serve with its defaults")
        servers[DEFAULTS] = stack.enter_context(vllm_serve(settings, base, adapters, work, tuned=False))
        report("Starting populace serve")
        servers[POPULACE] = stack.enter_context(populace_serve(bench, adapters, work))
        measured = measure(bench, servers, report)
        servers.clear()
    report("Measuring the bare engine")
    measured |= asyncio.run(_measure_bare(bench, settings, base))
    result = compare(bench, measured, (TUNED, DEFAULTS, POPULACE, BARE))
    result.notes.append(f"each engine has {settings.kv_gib} GiB for keys and values")
    return result


def measure(bench: ServeBench, servers: dict[str, Server], report: Report) -> Measured:
    """Give each load to each server in each round, in rotated order, and to one at a time."""
    measured: Measured = defaultdict(list)
    for round_number in range(-1, bench.rounds):
        for load in bench.loads:
            for name, server in _rotated(servers, round_number):
                wait_until_idle(server.meter for server in servers.values())
                report(f"Round {max(round_number, 0) + 1} of {bench.rounds}: {name}, {load.title}")
                server.meter.start()
                samples, wall = asyncio.run(run_load(server.endpoint, load, round_number=round_number))
                if round_number >= 0:  # the first round warms up
                    measured[name, load].append(Round(samples, wall, server.meter.stop()))
    return measured


def _rotated(servers: dict[str, Server], round_number: int) -> list[tuple[str, Server]]:
    """Rotate the servers by the round, so that each of them is first in some rounds."""
    items = list(servers.items())
    first = round_number % len(items)
    return items[first:] + items[:first]


def compare(bench: ServeBench, measured: Measured, names: Sequence[str]) -> BenchReport:
    """Make rows and aims of Populace and the others; it is compared with the first of ``names``."""
    result = BenchReport("serve")
    than = names[0]
    throughput: dict[tuple[str, Load], float] = {}
    first_token: dict[tuple[str, Load], float] = {}
    for load in bench.loads:
        for name in names:
            runs = measured[name, load]
            speed = statistics.median(run.tokens_per_s for run in runs)
            firsts = [statistics.median(s.first_token_s for s in run.samples) for run in runs]
            throughput[name, load] = speed
            first_token[name, load] = statistics.median(firsts)
            result.rows.append(
                _row((name, than), load, speed, first_token[name, load], runs, throughput, first_token)
            )
    for load in bench.loads:
        ratio = throughput[POPULACE, load] / throughput[than, load]
        result.aims.append(
            Aim(f"throughput ratio, {load.title}", round(ratio, 3), THROUGHPUT_AIM, "×", at_most=False)
        )
    for load in bench.loads:
        ratio = first_token[POPULACE, load] / first_token[than, load]
        result.aims.append(
            Aim(f"TTFT ratio, {load.title}", round(ratio, 3), FIRST_TOKEN_AIM, "×", at_most=True)
        )
    kind = f"{bench.adapters} LoRA adapters" if bench.adapters else "the base alone"
    result.notes.append(
        f"medians of {bench.rounds} rounds; {bench.requests} requests a stream, "
        f"{bench.reply_tokens} tokens a reply, {kind}; "
        f"ratios are relative to `{than}`, which has Populace's engine settings, threads and plugin"
    )
    return result


def _row(
    compared: tuple[str, str],
    load: Load,
    speed: float,
    first: float,
    runs: list[Round],
    throughput: dict[tuple[str, Load], float],
    first_token: dict[tuple[str, Load], float],
) -> Row:
    name, than = compared
    all_samples = [sample for run in runs for sample in run.samples]
    tokens = sum(sample.tokens for sample in all_samples)
    used: defaultdict[str, float] = defaultdict(float)
    for run in runs:
        for part, seconds in run.cpu_s.items():
            used[part] += seconds
    parts = ", ".join(
        f"{part} {seconds * 1000 / tokens:.2f}"
        for part, seconds in sorted(used.items(), key=lambda item: -item[1])
        if seconds > 0
    )
    return {
        "streams": load.streams,
        "reply": "of a schema" if load.structured else "free",
        "system": name,
        "tokens/s": round(speed, 1),
        "ratio": round(speed / throughput[than, load], 3),
        "TTFT p50 ms": round(first * 1000, 1),
        "TTFT p95 ms": round(percentile([s.first_token_s for s in all_samples], 95) * 1000, 1),
        "TTFT ratio": round(first / first_token[than, load], 3),
        "processor s / 1,000 tokens": parts,
    }


@contextmanager
def vllm_serve(
    settings: Settings, base: BaseModelFiles, adapters: list[Path], work: Path, *, tuned: bool
) -> Generator[Server]:
    port = free_port()
    environment = vllm_environment() | cpu_environment(settings.threads, kv_gib=settings.kv_gib)
    if not tuned:
        keep = ("VLLM_CPU_KVCACHE_SPACE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK", "HF_HUB_OFFLINE")
        environment = {name: environment[name] for name in keep}
    command = [
        # This is what `vllm serve` runs. The command itself fails with the CPU build, because it looks for
        # a distribution named `vllm`.
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(base.directory)),
        *("--served-model-name", "base", "--port", str(port), "--host", "127.0.0.1"),
        *("--max-model-len", str(settings.context_tokens), "--max-num-seqs", str(settings.sequences_max)),
        # What the engine here has too: the library that a schema is compiled with.
        *("--structured-outputs-config.backend", "guidance" if tuned else "auto"),
        *("--enforce-eager", "--disable-log-stats", "--disable-uvicorn-access-log"),
        *(
            "--enable-lora",
            "--max-loras",
            str(settings.adapter_slots),
            "--max-lora-rank",
            str(settings.rank_max),
        ),
    ]
    if tuned:  # the plugin serves adapters of these alone
        targets = read_base_modules(base.directory, base.fingerprint).targets
        command += ["--lora-target-modules", *targets]
    if adapters:
        command += ["--lora-modules", *(f"adapter-{i}={path}" for i, path in enumerate(adapters))]
    log = work / f"vllm-{port}.log"
    with child(command, process_environment(**environment), log) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(f"{url}/health", process, log)
        models = tuple(f"adapter-{i}" for i in range(len(adapters))) or ("base",)
        yield Server(Endpoint(url, "none", models), CpuMeter(process.pid, _vllm_part))


@contextmanager
def populace_serve(
    bench: ServeBench,
    adapters: list[Path],
    work: Path,
    variables: Mapping[str, str] = {},
    options: Sequence[str] = (),
) -> Generator[Server]:
    """Run a Populace with these variables and a person for each stream; its files are in ``work``.

    ``options`` are more of ``populace serve``'s own.
    """
    from populace.client.connecting import connect
    from populace.settings.credentials import Credentials
    from populace.settings.running import wait_for_running

    port = free_port()
    data, config, log = work / "data", work / "config", work / "populace.log"
    command = [sys.executable, "-m", "populace", "serve", "--port", str(port), "--data", str(data)]
    command += options
    command += ["--memory-module", "none"]  # vLLM has none; `bench memory` measures its cost
    environment = process_environment(POPULACE_CONFIG=str(config), **variables)
    with child(command, environment, log) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(f"{url}/readyz", process, log)
        running = wait_for_running(data, seconds_max=60)
        key = Credentials(config).find(running.store_id)
        assert key is not None, "populace serve keeps a key for its user"
        names: list[str] = []
        with connect(url, api_key=key) as population:
            for index in range(max(bench.streams)):
                adapter = adapters[index % len(adapters)] if adapters else None
                names.append(population.create(f"person-{index}", adapter=adapter).name)
        yield Server(Endpoint(url, key, tuple(names)), CpuMeter(process.pid, _populace_part))


async def _measure_bare(bench: ServeBench, settings: Settings, base: BaseModelFiles) -> Measured:
    """Send the same requests to an engine in this process, without a server."""
    from populace.engines.vllm_engine import VllmEngine

    measured: Measured = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        paths = bench.write_adapters(Path(folder), base.directory)
        people = [Person(AdapterRef(adapter_digest(path)[0], str(path))) for path in paths]
        engine = await VllmEngine.start(
            EngineOptions(
                base.directory,
                base.fingerprint,
                settings.context_tokens,
                sequences_max=settings.sequences_max,
                adapter_slots=settings.adapter_slots,
                rank_max=settings.rank_max,
                threads=settings.threads,
                kv_gib=settings.kv_gib,
            )
        )
        meter = CpuMeter(psutil.Process().pid, _vllm_part)
        try:
            for round_number in range(-1, bench.rounds):
                for load in bench.loads:
                    meter.start()
                    samples, wall = await run_bare(
                        engine, people or [Person()], load, round_number=round_number
                    )
                    if round_number >= 0:
                        measured[BARE, load].append(Round(samples, wall, meter.stop()))
        finally:
            await engine.close()
    return measured


def _vllm_part(process: psutil.Process) -> str:
    return "engine" if _title(process).startswith("VLLM::") else "server"


def _populace_part(process: psutil.Process) -> str:
    title = _title(process)
    parts = {
        "VLLM::": "engine",
        "ray::ServeReplica:populace-engine": "replica",
        "ray::ServeReplica:populace-gateway": "gateway",
        "ray::HostActor": "host",
    }
    return next((part for start, part in parts.items() if title.startswith(start)), "Ray")


def _title(process: psutil.Process) -> str:
    try:
        command = process.cmdline()
    except psutil.Error:
        return ""
    return command[0] if command else ""
