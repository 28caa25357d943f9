# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# safetensors' functions are partly untyped.
"""``populace bench packed``: reading and loading a packed adapter, compared with PEFT's tensor per matrix.

Two adapters in bfloat16 are measured: rank 8 on all linear layers of the default base, and rank 1 on a model
of 48 layers with 128 experts each, in the shapes of Qwen3-30B-A3B. The second one is only read, not served;
MinT's packed loader was measured on the same 37,248 tensors. Files are in the page cache on both sides.
"""

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open

from populace.adapters.base_modules import BaseModules, LinearShape, read_base_modules
from populace.adapters.peft_directory import TENSOR_FILE
from populace.adapters.serving_image import TYPES, group_tensor
from populace.base.prepare import BaseModelFiles, prepare_base
from populace.settings.settings import Settings
from populace.storage.packed.adapter import PackedAdapter
from scripts.bench.engine_process import running_engine
from scripts.bench.engine_sides import Side, Start
from scripts.bench.expert_adapter import expert_linears, write_expert_adapter
from scripts.bench.random_adapters import write_random_adapters
from scripts.bench.report import Aim, BenchReport

RANK = 8
SLOTS = 16

MINT = {"objects": 55.4, "read": 54.8, "build": 29.5}
MINT_LOAD = 8.5
"""How many times fewer or faster MinT's packed loader is (arXiv 2605.13779, table 8)."""

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class PackedBench:
    """The size of the mixture-of-experts model, the rounds, and how many adapters are loaded at once."""

    layers: int = 48
    experts: int = 128
    rounds: int = 7
    loads: tuple[int, ...] = (4, 8, 16)
    load_rounds: int = 3


class _Adapter(NamedTuple):
    """One adapter in both forms, and the linear layers of its base."""

    name: str
    tensors: Path
    packed: Path
    rank: int
    linears: Mapping[str, LinearShape]


def bench_packed(bench: PackedBench, settings: Settings, report: Report) -> BenchReport:
    """Write, read and build both adapters, and load many of the first into an engine. Needs vLLM."""
    base = prepare_base(settings.base, settings.cache, allow_hub=False)
    modules = read_base_modules(base.directory, base.fingerprint)
    result = BenchReport(
        "packed",
        notes=[
            f"Medians of {bench.rounds} rounds, of {bench.load_rounds} for loads; files in the page cache.",
            "read: tensors or groups are in memory. checked: tensors are finite, the file has its SHA-256.",
            "build: an adapter becomes vLLM's objects, or a slot of Populace's engine without a GPU.",
            "load: concurrently into vLLM; cool: from the file, checked; warm: from its image in memory.",
        ],
    )
    with tempfile.TemporaryDirectory(prefix="populace-") as folder:
        work = Path(folder)
        report("Writing the adapters", 0.0)
        adapters = (_of_base(work, base, modules), _of_experts(work, bench))
        for number, adapter in enumerate(adapters):
            report(adapter.name, (number + 1) / 4)
            _measure_files(bench, adapter, result)
        report("Loading into vLLM", 3 / 4)
        _measure_loads(bench, settings, base, modules, work, result)
    return result


def _of_base(work: Path, base: BaseModelFiles, modules: BaseModules) -> _Adapter:
    written = write_random_adapters(work / "base", base.directory, modules, [RANK], "BF16")
    [directory], [packed] = written
    return _Adapter(f"default base, rank {RANK}", directory / TENSOR_FILE, packed, RANK, modules.linears)


def _of_experts(work: Path, bench: PackedBench) -> _Adapter:
    file, packed = work / "experts.safetensors", work / "experts.adapter"
    linears = expert_linears(bench.layers, bench.experts)
    write_expert_adapter(file, packed, linears)
    return _Adapter(f"{bench.layers} layers, {bench.experts} experts, rank 1", file, packed, 1, linears)


def _measure_files(bench: PackedBench, adapter: _Adapter, result: BenchReport) -> None:
    from populace.engines.vllm_lora.table import AdapterTable, LinearLayer
    from scripts.bench.vllm_stock import build

    layers = [LinearLayer((name,), shape.inputs, (shape.outputs,)) for name, shape in adapter.linears.items()]
    table = AdapterTable(layers, 1, TYPES["BF16"])
    opened, tensors = PackedAdapter.open(adapter.packed), _read_tensors(adapter.tensors)
    targets = list(BaseModules(dict(adapter.linears)).targets)
    sides: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "read": (lambda: _read_tensors(adapter.tensors), lambda: _read_groups(adapter.packed)),
        "read and checked": (
            lambda: all(bool(tensor.isfinite().all()) for tensor in _read_tensors(adapter.tensors).values()),
            lambda: PackedAdapter.open(adapter.packed).verify(),
        ),
        "build": (lambda: build(tensors, adapter.rank, targets), lambda: table.bind(0, opened)),
    }
    objects = (len(tensors), len(opened.groups))
    sizes = (adapter.tensors.stat().st_size, opened.bytes)
    _add(result, adapter.name, "objects", *map(float, objects), unit="")
    _add(result, adapter.name, "file", *(size / 1e6 for size in sizes), unit="MB")
    for what, (with_tensors, with_packed) in sides.items():
        per_tensor, packed = _times(with_tensors, with_packed, bench.rounds)
        _add(result, adapter.name, what, per_tensor * 1000, packed * 1000, unit="ms")


def _read_tensors(file: Path) -> dict[str, Any]:
    """Read tensors as vLLM reads those of a PEFT directory."""
    with safe_open(str(file), framework="pt") as tensors:
        return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 - not iterable


def _read_groups(file: Path) -> list[Any]:
    packed = PackedAdapter.open(file)
    return [group_tensor(packed, group) for group in packed.groups]


def _times(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Call both in turn, after a round of warm-up; return the median seconds of each."""
    taken: tuple[list[float], list[float]] = ([], [])
    for round_number in range(rounds + 1):
        for side, times in zip((first, second), taken, strict=True):
            began = time.perf_counter()
            side()
            if round_number:
                times.append(time.perf_counter() - began)
    return statistics.median(taken[0]), statistics.median(taken[1])


def _measure_loads(
    bench: PackedBench,
    settings: Settings,
    base: BaseModelFiles,
    modules: BaseModules,
    work: Path,
    result: BenchReport,
) -> None:
    # Each round loads new adapters; the last ones evict the measured ones from the slots.
    count = sum(bench.loads) * (bench.load_rounds + 1) + SLOTS
    written = write_random_adapters(work / "loads", base.directory, modules, [RANK] * count, "BF16")
    times: dict[tuple[str, int], float] = {}
    for side, adapters in (
        (Side("vllm", stock=True, slots=SLOTS), written.directories),
        (Side("populace", stock=False, slots=SLOTS), written.packed),
    ):
        common = Start(
            base.directory, base.fingerprint, adapters, settings.context_tokens, RANK, settings.threads
        )
        with running_engine(side, common) as engine:
            fresh = iter(range(count))
            asked: dict[int, list[list[int]]] = {load: [] for load in bench.loads}
            cool: dict[int, list[float]] = {load: [] for load in bench.loads}
            for round_number in range(bench.load_rounds + 1):
                for load in bench.loads:
                    numbers = [next(fresh) for _ in range(load)]
                    seconds = engine.load(numbers)
                    if round_number:
                        cool[load].append(seconds)
                        asked[load].append(numbers)
            for load in bench.loads:
                times[side.name, load] = statistics.median(cool[load])
            if not side.stock:
                engine.load(list(fresh))
                for load in bench.loads:
                    again = [engine.load(numbers) for numbers in asked[load]]
                    times["warm", load] = statistics.median(again)
    for load in bench.loads:
        of_vllm = times["vllm", load] * 1000
        for form, side in (("cool", "populace"), ("warm", "warm")):
            what = f"load {load}, {form}"
            _add(result, f"default base, rank {RANK}", what, of_vllm, times[side, load] * 1000, unit="ms")


def _add(
    result: BenchReport, adapter: str, what: str, per_tensor: float, packed: float, *, unit: str
) -> None:
    ratio = per_tensor / packed if packed else math.inf
    result.rows.append(
        {
            "adapter": adapter,
            "what": f"{what}, {unit}" if unit else what,
            "per tensor": round(per_tensor, 3),
            "packed": round(packed, 3),
            "ratio": round(ratio, 2),
        }
    )
    aim = MINT_LOAD if what.startswith("load") else MINT.get(what)
    if aim is not None:
        result.aims.append(
            Aim(f"{adapter}: {what}", round(ratio, 2), aim, "x fewer or faster", at_most=False)
        )
