"""Loads what training needs of a base: its weights, its tokenizer, and the judging of candidates."""

import gc
import logging
from pathlib import Path
from typing import NamedTuple

from populace.engines.prompts import BaseTokenizer
from populace.learning.devices import forget_freed, training_device
from populace.learning.frozen_base import FrozenBase
from populace.learning.general_replies import Answerer, GeneralJudge
from populace.learning.on_policy.base_replies import BaseReplies
from populace.learning.on_policy.sampler import EngineSampler
from populace.learning.on_policy.teachers import Teacher
from populace.learning.trainer import Trainer
from populace.policies.evaluation_gate import GateRule
from populace.storage.revisions import RevisionFiles
from populace.trainer.runs import RunBuilder

logger = logging.getLogger(__name__)

TOKENS_A_STEP = 1024
"""Tokens in a step: some seconds on a core, which bounds the wait when a trainer is stopped."""

TOKENS_A_STEP_GPU = 16 * 1024
"""Tokens in a step on a GPU, which computes more of them in less time and idles between small steps."""


class LoadedTrainer(NamedTuple):
    """The parts that work on the jobs of one base: ``runs`` begins them, ``trainer`` takes their steps."""

    trainer: Trainer
    runs: RunBuilder


def load_trainer(
    base_directory: Path,
    fingerprint: str,
    revisions: RevisionFiles,
    *,
    gate: GateRule,
    rank_max: int,
    gpu_share: float = 0.0,
    sampler: EngineSampler | None = None,
    memory_module: Path | None = None,
    teacher: Teacher | None = None,
    replies_directory: Path | None = None,
) -> LoadedTrainer:
    """Load the base, in the data type that it is served in, and the trainer on it.

    It trains on a GPU if it has a ``gpu_share`` of one, of whose memory it takes no more than that. In
    ``replies_directory`` the base's replies to general requests are kept, for later trainers as well.
    """
    device = training_device(gpu_share)
    if gpu_share and device == "cpu":
        logger.error(
            "torch finds no GPU here, so the trainer computes on the processor: see `populace doctor`"
        )
    base = FrozenBase(base_directory, fingerprint, device=device)
    answerer: Answerer | None = sampler
    if sampler is not None and replies_directory is not None:
        answerer = BaseReplies(sampler, replies_directory, fingerprint)
    runs = RunBuilder(
        base,
        base_directory,
        revisions,
        rank_max=rank_max,
        sampler=sampler,
        memory_module=memory_module,
        teacher=teacher,
        answerer=answerer,
    )
    general = None if answerer is None else GeneralJudge(base, BaseTokenizer(base_directory), answerer)
    tokens = TOKENS_A_STEP if device == "cpu" else TOKENS_A_STEP_GPU
    trainer = Trainer(base, runs.encoder, gate=gate, rank_max=rank_max, tokens_a_step=tokens, general=general)
    return LoadedTrainer(trainer, runs)


def free_device() -> None:
    """Give the memory of a GPU back that nothing uses any more, for the engine on it."""
    # The base is in circles of hooks, which only the collector ends.
    gc.collect()
    forget_freed()
