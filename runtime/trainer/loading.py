"""Loads what training needs of a base: its weights, its tokenizer, and the judging of candidates."""

from pathlib import Path
from typing import NamedTuple

from populace.engines.prompts import BaseTokenizer
from populace.learning.frozen_base import FrozenBase
from populace.learning.general_replies import Answerer, GeneralJudge
from populace.learning.on_policy.base_replies import BaseReplies
from populace.learning.on_policy.sampler import Sampler
from populace.learning.on_policy.teachers import Teacher
from populace.learning.trainer import Trainer
from populace.policies.evaluation_gate import GateRule
from populace.storage.revisions import RevisionFiles
from populace.trainer.runs import RunBuilder

TOKENS_A_STEP = 1024
"""Tokens in a step: some seconds on a core, which bounds the wait when a trainer is stopped."""


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
    device: str = "cpu",
    sampler: Sampler | None = None,
    memory_module: Path | None = None,
    teacher: Teacher | None = None,
    replies_directory: Path | None = None,
) -> LoadedTrainer:
    """Load the base, in the data type that it is served in, and the trainer on it.

    In ``replies_directory`` the base's replies to general requests are kept, for later trainers as well.
    """
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
    trainer = Trainer(
        base, runs.encoder, gate=gate, rank_max=rank_max, tokens_a_step=TOKENS_A_STEP, general=general
    )
    return LoadedTrainer(trainer, runs)
