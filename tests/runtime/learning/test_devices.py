# pyright: reportUnknownMemberType=false
# safetensors and transformers are partly untyped.
"""Training computes on the base's device alone, and there as on the processor.

Where there is no GPU, the device is one that computes on the processor and refuses what a GPU refuses.
"""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from populace.actors.training_options import STARTS, Start
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.layer import MemoryShape
from populace.adapters.memory.module import digest_of
from populace.engines.prompts import BaseTokenizer
from populace.learning.curricula import SupervisedCurriculum
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import HeldOutReplies
from populace.learning.frozen_base import FrozenBase
from populace.learning.kept_readings import KeptReadings
from populace.learning.memory_inputs import KeptInputsCurriculum, MemoryInputs
from populace.learning.memory_reading import MemoryReading
from populace.learning.methods.context_distillation import ExactDistillation
from populace.learning.methods.objective import Objective, TrainSequence
from populace.learning.methods.preference import PreferenceObjective, ThumbsObjective
from populace.learning.methods.rl import PolicyObjective
from populace.learning.methods.sft import CorrectionObjective, SupervisedObjective
from populace.learning.packed_row import Reading
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step
from populace.learning.session_file import pack_session, unpack_session
from populace.learning.trainer import Candidate, Learner, Trainer, TrainerProgress
from populace.policies.evaluation_gate import GateRule
from scripts.bench.random_module import random_module, random_state, with_gates
from tests.second_device import second_device

pytestmark = pytest.mark.engine

FINGERPRINT = "f" * 64
VOCABULARY = 64
SEQUENCES = [
    TrainSequence(tuple(range(3, 3 + length)), (0.0, 0.0) + (1.0,) * (length - 2)) for length in (5, 9, 16)
]
TOLERANCE = 1e-5
"""In float32: attention is made of plain operations on the other device, which round differently."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bases(directory: Path) -> tuple[FrozenBase, FrozenBase]:
    """The base on the processor, and on the other device."""
    device = "cuda" if torch.cuda.is_available() else str(second_device())
    return (
        FrozenBase(directory, FINGERPRINT, dtype=torch.float32),
        FrozenBase(directory, FINGERPRINT, dtype=torch.float32, device=device),
    )


def begun(base: FrozenBase, start: Start = "uniform") -> TrainingSession:
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(4), start, seed=1)
    return TrainingSession("ada", adapter, StepOptions(steps=4, learning_rate=3e-3))


def stepped(base: FrozenBase, session: TrainingSession, steps: int) -> list[float]:
    losses: list[float] = []
    for _ in range(steps):
        [report] = take_step(base, [(session, SupervisedObjective(SEQUENCES))])
        assert isinstance(report, StepReport)
        losses.append(report.loss)
    return losses


def numbers(adapter: TrainableAdapter) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().cpu() for parameter in adapter.parameters()])


@pytest.mark.parametrize("start", STARTS)
def test_steps_on_another_device_are_those_of_the_processor(
    bases: tuple[FrozenBase, FrozenBase], start: Start
) -> None:
    on_cpu, on_device = bases
    here, there = begun(on_cpu, start), begun(on_device, start)

    assert stepped(on_device, there, 3) == pytest.approx(stepped(on_cpu, here, 3), rel=1e-4)
    assert {parameter.device for parameter in there.adapter.parameters()} == {on_device.device}
    assert torch.allclose(numbers(there.adapter), numbers(here.adapter), atol=TOLERANCE)


def test_a_session_goes_on_on_the_device_of_the_trainer_that_reads_it(
    bases: tuple[FrozenBase, FrozenBase],
) -> None:
    on_cpu, on_device = bases
    here = begun(on_cpu, "pissa")
    stepped(on_cpu, here, 2)
    there, _ = unpack_session(pack_session(here, {}), on_device.device)

    stepped(on_device, there, 2)
    back, _ = unpack_session(pack_session(there, {}))
    stepped(on_cpu, here, 2)

    assert torch.allclose(numbers(back.adapter), numbers(here.adapter), atol=TOLERANCE)


def test_what_is_trained_on_a_lower_revision_has_all_of_it_on_the_device(
    bases: tuple[FrozenBase, FrozenBase],
) -> None:
    on_cpu, on_device = bases
    packed = begun(on_cpu, "pissa").adapter.pack(FINGERPRINT, torch.float32)
    adapters: list[TrainableAdapter] = []
    for base in (on_cpu, on_device):
        lower = TrainableAdapter.of_packed(packed, base.modules, rank_max=16).to(base.device)
        session = TrainingSession(
            "ada", begun(base, "olora").adapter.on(lower, "d" * 64), StepOptions(steps=2)
        )
        stepped(base, session, 2)
        served = session.adapter.with_share(0.5).pack(FINGERPRINT, torch.float32)
        adapters.append(TrainableAdapter.of_packed(served, base.modules, rank_max=16))

    assert torch.allclose(numbers(adapters[0]), numbers(adapters[1]), atol=TOLERANCE)


def test_constant_factors_move_with_the_trained_ones(bases: tuple[FrozenBase, FrozenBase]) -> None:
    on_cpu, on_device = bases
    lower = begun(on_cpu, "pissa").adapter
    adapter = begun(on_cpu, "pissa").adapter.on(lower, "d" * 64).to(on_device.device)

    [reading] = on_device.score([Reading(adapter, SEQUENCES)])

    assert reading.log_probs.device == on_device.device


def test_readings_that_are_kept_are_on_the_device(bases: tuple[FrozenBase, FrozenBase]) -> None:
    on_cpu, on_device = bases
    for base in bases:
        base.record_inputs(["model.layers.0.self_attn"])

    here, there = (KeptReadings(base) for base in (on_cpu, on_device))

    assert torch.allclose(there.log_probs(SEQUENCES).cpu(), here.log_probs(SEQUENCES), atol=TOLERANCE)
    [layer], [other] = there.hidden(SEQUENCES), here.hidden(SEQUENCES)
    assert torch.allclose(layer.cpu(), other, atol=TOLERANCE)


def test_the_other_device_refuses_what_was_forgotten() -> None:
    device = second_device()
    there = torch.ones(2, 2, device=device)

    with pytest.raises(RuntimeError, match="device"):
        _ = there @ torch.ones(2, 2)
    with pytest.raises((RuntimeError, TypeError)):
        there.numpy()
    assert torch.equal((there * 2).cpu(), torch.full((2, 2), 2.0))


def objectives(base: FrozenBase) -> list[Objective]:
    """One of each method, with numbers of its own."""
    count = sum(len(sequence.scored) for sequence in SEQUENCES)
    with torch.no_grad():
        [scored] = base.score([Reading(None, SEQUENCES)])
    teacher = (scored.log_probs * 1.1).log_softmax(-1).cpu()
    return [
        SupervisedObjective(SEQUENCES),
        CorrectionObjective(SEQUENCES),
        PreferenceObjective([*SEQUENCES, SEQUENCES[0]], [-9.0, -20.0, -40.0, -10.0]),
        ThumbsObjective(SEQUENCES, [-9.0, -20.0, -40.0], [True, False, True]),
        PolicyObjective(SEQUENCES, [1.0, -1.0, 0.5], [-4.0] * count, [-4.1] * count, [-4.2] * count),
        ExactDistillation(SEQUENCES, teacher, top=16, forward=0.3),
    ]


@pytest.mark.parametrize("number", range(6))
def test_the_loss_of_each_method_is_that_of_the_processor(
    bases: tuple[FrozenBase, FrozenBase], number: int
) -> None:
    reports: list[StepReport] = []
    for base in bases:
        objective = objectives(bases[0])[number]
        [report] = take_step(base, [(begun(base), objective)])
        assert isinstance(report, StepReport)
        reports.append(report)

    assert reports[1].loss == pytest.approx(reports[0].loss, rel=1e-4, abs=1e-5)
    assert reports[1].gradient == pytest.approx(reports[0].gradient, rel=1e-3, abs=1e-5)


def test_what_a_memory_reads_is_the_same_on_the_device(
    directory: Path, bases: tuple[FrozenBase, FrozenBase]
) -> None:
    shape = MemoryShape(rank=4, gated=True, first_layer=1)
    read: list[torch.Tensor] = []
    for base in bases:
        module = with_gates(random_module(directory, FINGERPRINT, shape, strength=30.0), open_=True)
        digest, state = digest_of(module.pack()), random_state(module)
        module.requires_grad_(False).to(base.device)
        inputs = MemoryInputs(module, attention_layers(base.modules), base, SEQUENCES)
        reading = MemoryReading.of(base, module, digest, state)
        assert reading is not None
        session = begun(base)
        curriculum = KeptInputsCurriculum(SupervisedCurriculum(SEQUENCES), inputs)
        [report] = take_step(base, [(session, curriculum.objective(session, 3))])
        assert isinstance(report, StepReport), report
        with torch.no_grad():
            [scored] = base.score([Reading(session.adapter, SEQUENCES)])
            read.append(reading.read(scored).log_probs.cpu())

    assert torch.allclose(read[0], read[1], atol=1e-4)


def test_a_candidate_is_judged_on_the_device(small_base_f32: Path) -> None:
    device = "cuda" if torch.cuda.is_available() else str(second_device())
    base = FrozenBase(small_base_f32, FINGERPRINT, dtype=torch.float32, device=device)
    encoder = ExampleEncoder(BaseTokenizer(small_base_f32), 256)
    learner = Learner(begun(base), SupervisedCurriculum(SEQUENCES), None, HeldOutReplies(base, SEQUENCES[1:]))

    trainer = Trainer(base, encoder, gate=GateRule(), rank_max=16)
    candidate = trainer.train([learner], TrainerProgress())["ada"]

    assert isinstance(candidate, Candidate)
    assert candidate.losses[-1] < candidate.losses[0]
    served = TrainableAdapter.of_packed(candidate.packed, base.modules, rank_max=16)
    assert {parameter.device.type for parameter in served.parameters()} == {"cpu"}
