# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.cuda, transformers and vLLM are partly untyped.
"""What Populace does on a GPU, checked on the one that is here.

    python scripts/gpu_check.py [--part a|b|all] [--device cuda|cpu] [--json]

Part A needs torch alone: training on the GPU is training on the processor, a delta-mem operation is captured
in a CUDA graph, adapters reach the GPU and come back whole, with times. Part B needs vLLM too: its engine
serves an adapter as the torch engine on the processor does, with half of the GPU's memory.

Each check stands alone: one that fails is reported, and the next one runs. Exit status: 0 if all passed, 1 if
one failed, 3 if there is no GPU, 4 if there is no vLLM for part B. ``--device cpu`` runs the same checks on
the processor, without graphs; it is how they are tested.
"""

import argparse
import asyncio
import importlib.util
import json
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from populace.adapters.base_modules import read_base_modules
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.adapters.memory.scan import TokenInputs, scan_loop
from populace.adapters.serving_image import group_tensor
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.methods.sft import SupervisedObjective
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step
from populace.learning.session_file import pack_session, unpack_session
from populace.storage.packed.adapter import PackedAdapter

NO_GPU, NO_VLLM = 3, 4
FINGERPRINT = "f" * 64
STEPS = 6
ROUNDS = 9
SLOTS, RANK, STATES = 16, 32, 8

Numbers = Mapping[str, Any]


class Place(NamedTuple):
    """Where the checks run: the device, and a folder for a tiny base."""

    device: torch.device
    folder: Path

    @property
    def has_graphs(self) -> bool:
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Wait for everything that was asked of the device."""
        if self.has_graphs:
            torch.cuda.synchronize()


def tiny_base(place: Place) -> Path:
    folder = place.folder / "base"
    if not folder.exists():
        torch.manual_seed(1)
        config = LlamaConfig(
            vocab_size=512,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=8,
            num_key_value_heads=2,
            max_position_embeddings=512,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def sequences() -> list[TrainSequence]:
    lengths = (17, 33, 64, 9)
    return [
        TrainSequence(tuple((31 * at + length) % 512 for at in range(length)), (0.0,) + (1.0,) * (length - 1))
        for length in lengths
    ]


def begun(base: FrozenBase) -> TrainingSession:
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=8), "uniform", seed=3)
    return TrainingSession("check", adapter, StepOptions(steps=2 * STEPS, learning_rate=3e-3, warm_up=0))


def losses_of(base: FrozenBase, session: TrainingSession, steps: int = STEPS) -> list[float]:
    losses: list[float] = []
    for _ in range(steps):
        [report] = take_step(base, [(session, SupervisedObjective(sequences()))])
        if not isinstance(report, StepReport):
            raise report
        losses.append(report.loss)
    return losses


def worst(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(left - right) for left, right in zip(one, other, strict=True))


def median_ms(place: Place, body: Callable[[], object]) -> float:
    body()
    times: list[float] = []
    for _ in range(ROUNDS):
        place.wait()
        began = time.perf_counter()
        body()
        place.wait()
        times.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(times), 3)


def device_facts(place: Place) -> Numbers:
    facts: dict[str, Any] = {"torch": torch.__version__, "device": str(place.device)}
    if place.has_graphs:
        free, total = torch.cuda.mem_get_info()
        facts |= {
            "gpu": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "free_gib": round(free / 2**30, 1),
            "total_gib": round(total / 2**30, 1),
        }
    return facts


def training_is_the_processors(place: Place) -> Numbers:
    on_cpu = FrozenBase(tiny_base(place), FINGERPRINT, dtype=torch.float32)
    on_device = FrozenBase(tiny_base(place), FINGERPRINT, dtype=torch.float32, device=str(place.device))
    here, there = losses_of(on_cpu, begun(on_cpu)), losses_of(on_device, begun(on_device))
    difference = worst(here, there)
    assert difference < 1e-3, (here, there)
    return {"worst_difference": difference, "first": there[0], "last": there[-1]}


def a_session_changes_devices(place: Place) -> Numbers:
    on_cpu = FrozenBase(tiny_base(place), FINGERPRINT, dtype=torch.float32)
    on_device = FrozenBase(tiny_base(place), FINGERPRINT, dtype=torch.float32, device=str(place.device))
    whole, half = begun(on_cpu), begun(on_cpu)
    expected = losses_of(on_cpu, whole, 2 * STEPS)[STEPS:]
    losses_of(on_cpu, half)
    there, _ = unpack_session(pack_session(half, {}), on_device.device)
    difference = worst(expected, losses_of(on_device, there))
    assert difference < 1e-3, difference
    return {"worst_difference": difference}


def bfloat16_learns(place: Place) -> Numbers:
    base = FrozenBase(tiny_base(place), FINGERPRINT, dtype=torch.bfloat16, device=str(place.device))
    losses = losses_of(base, begun(base))
    assert losses[-1] < losses[0], losses
    return {"first": losses[0], "last": losses[-1]}


class DeltaStep:
    """A decode step of a memory in persistent buffers: what is captured once and replayed each step."""

    def __init__(self, device: torch.device, *, tokens: int) -> None:
        generator = torch.Generator().manual_seed(0)

        def drawn(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator).to(device)

        self.states_SNRR = drawn(SLOTS, STATES, RANK, RANK)
        self.slots_T = torch.tensor([1, 5, 7, 2][:tokens], device=device)
        unit_TN1R = torch.nn.functional.normalize(drawn(tokens, STATES, 1, RANK), dim=-1)
        rate_TN1R = torch.full_like(unit_TN1R, 0.5)
        self.tokens = TokenInputs(unit_TN1R, unit_TN1R, drawn(tokens, STATES, 1, RANK), rate_TN1R)
        self.read = torch.zeros(tokens, STATES, 1, RANK, device=device)

    def run(self) -> None:
        scanned = scan_loop(self.tokens, self.states_SNRR.index_select(0, self.slots_T))
        self.states_SNRR.index_copy_(0, self.slots_T, scanned.state)
        self.read.copy_(scanned.read)


def a_memory_is_captured(place: Place) -> Numbers:
    expected, step = DeltaStep(torch.device("cpu"), tokens=4), DeltaStep(place.device, tokens=4)
    before = step.states_SNRR.clone()
    run: Callable[[], object] = step.run
    eager_ms = median_ms(place, step.run)
    if place.has_graphs:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step.run()
        run = graph.replay
    replay_ms = median_ms(place, run)
    step.states_SNRR.copy_(before)
    for _ in range(3):
        run()
        expected.run()
    place.wait()
    difference = float((step.states_SNRR.cpu() - expected.states_SNRR).abs().max())
    assert difference < 1e-4, difference
    assert torch.allclose(step.read.cpu(), expected.read, atol=1e-4)
    return {
        "captured": place.has_graphs,
        "worst_difference": difference,
        "eager_ms": eager_ms,
        "replay_ms": replay_ms,
    }


def adapters_are_copied(place: Place) -> Numbers:
    base = FrozenBase(tiny_base(place), FINGERPRINT, dtype=torch.float32)
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=16), "uniform", seed=0)
    packed = PackedAdapter(memoryview(bytearray(adapter.pack(FINGERPRINT, torch.float32))))
    groups = [group_tensor(packed, group) for group in packed.groups]
    slots = [torch.zeros_like(group, device=place.device) for group in groups]
    pinned = [group.pin_memory() if place.has_graphs else group.clone() for group in groups]

    def load(sources: Sequence[torch.Tensor]) -> None:
        for slot, source in zip(slots, sources, strict=True):
            slot.copy_(source, non_blocking=True)

    times = {
        "pageable_ms": median_ms(place, lambda: load(groups)),
        "pinned_ms": median_ms(place, lambda: load(pinned)),
        "back_ms": median_ms(place, lambda: [slot.cpu() for slot in slots]),
    }
    for slot, group in zip(slots, groups, strict=True):
        assert torch.equal(slot.cpu(), group)
    return {"kib": packed.bytes // 1024, **times}


PART_A: Mapping[str, Callable[[Place], Numbers]] = {
    "the device": device_facts,
    "training on the device is training on the processor": training_is_the_processors,
    "a session goes on on another device": a_session_changes_devices,
    "bfloat16 learns": bfloat16_learns,
    "a memory's operation is captured and replayed": a_memory_is_captured,
    "adapters reach the device and come back whole": adapters_are_copied,
}


def vllm_serves_as_torch(place: Place) -> Numbers:
    """Both engines say the same of the default base, alone and with an adapter, in float32."""
    return asyncio.run(_both_engines(place))


async def _both_engines(place: Place) -> Numbers:
    from populace.actors.engine import AdapterRef, Engine, GenerateRequest, Message, Sampling
    from populace.adapters.packing import pack_peft_directory
    from populace.adapters.random_adapter import write_random_adapter
    from populace.base.prepare import prepare_base
    from populace.engines.options import EngineOptions
    from populace.engines.torch_engine import TorchEngine
    from populace.engines.vllm_engine import VllmEngine
    from populace.settings.settings import Settings

    files = prepare_base(None, Settings.from_environment().cache)
    modules = read_base_modules(files.directory, files.fingerprint)
    directory = write_random_adapter(place.folder / "adapter", files.directory, seed=1)
    packed = PackedAdapter(memoryview(pack_peft_directory(directory, modules, rank_max=16)))
    file = place.folder / f"{packed.digest}.adapter"
    file.write_bytes(packed.data)
    options = EngineOptions(
        files.directory, files.fingerprint, 512, dtype="float32", adapter_slots=4, gpu_memory_share=0.5
    )

    async def said(engine: Engine, adapter: AdapterRef | None) -> tuple[list[int], float]:
        request = GenerateRequest(
            "check", (Message("user", "Where is Lisbon?"),), Sampling(max_tokens=16, temperature=0.0), adapter
        )
        began = time.perf_counter()
        tokens = [token async for delta in engine.generate(request) for token in delta.token_ids]
        return tokens, time.perf_counter() - began

    asked = (None, AdapterRef(packed.digest, str(file)))
    replies: list[list[list[int]]] = []
    seconds: list[float] = []
    for kind in (TorchEngine, VllmEngine):
        engine: Any = await kind.start(options)
        try:
            told = [await said(cast("Engine", engine), adapter) for adapter in asked]
        finally:
            await engine.close()
        replies.append([tokens for tokens, _ in told])
        seconds.append(sum(took for _, took in told))
    assert replies[0] == replies[1], replies
    assert replies[1][0] != replies[1][1], "the adapter changes nothing"
    return {"torch_s": round(seconds[0], 2), "vllm_s": round(seconds[1], 2)}


PART_B: Mapping[str, Callable[[Place], Numbers]] = {
    "vLLM serves adapters as the torch engine does": vllm_serves_as_torch,
}


def checked(name: str, body: Callable[[Place], Numbers], place: Place) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        line = {"check": name, "passed": True, **body(place)}
    except Exception as error:
        line = {"check": name, "passed": False, "error": repr(error), "at": traceback.format_exc()[-800:]}
    return line | {"wall_s": round(time.perf_counter() - began, 2)}


def main() -> int:
    """Run the checks, print a line of each, and return the exit status."""
    parser = argparse.ArgumentParser(description="Check what Populace does on a GPU.")
    parser.add_argument("--part", choices=("a", "b", "all"), default="all")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each check")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "There is no GPU that torch finds. --device cpu runs the checks on the processor.",
            file=sys.stderr,
        )
        return NO_GPU
    has_vllm = importlib.util.find_spec("vllm") is not None
    if options.part == "b" and not has_vllm:
        print("vLLM is not installed: `make install` says why.", file=sys.stderr)
        return NO_VLLM
    checks = dict(PART_A) if options.part != "b" else {}
    if options.part != "a" and has_vllm:
        checks |= PART_B
    passed = True
    with tempfile.TemporaryDirectory(prefix="populace-gpu-check-") as folder:
        place = Place(torch.device(options.device), Path(folder))
        for name, body in checks.items():
            line = checked(name, body, place)
            passed = passed and line["passed"]
            shown = json.dumps(line) if options.json else _said(line)
            print(shown, flush=True)
    return 0 if passed else 1


def _said(line: Mapping[str, Any]) -> str:
    numbers = ", ".join(
        f"{name} {value}" for name, value in line.items() if name not in ("check", "passed", "at")
    )
    return f"{'ok  ' if line['passed'] else 'FAIL'}  {line['check']}: {numbers}"


if __name__ == "__main__":
    sys.exit(main())
