"""Loads what training needs of a base: its weights, its tokenizer, and what judges."""

from pathlib import Path

from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import Sampler
from populace.learning.trainer import Trainer
from populace.policies.evaluation_gate import GateRule
from populace.storage.revisions import RevisionFiles
from populace.trainer.runs import PupilMaker

TOKENS_A_STEP = 1024
"""Some seconds on a core: nobody who stops a trainer waits for longer."""


def load_tools(
    base_directory: Path,
    fingerprint: str,
    revisions: RevisionFiles,
    *,
    gate: GateRule,
    rank_max: int,
    device: str = "cpu",
    sampler: Sampler | None = None,
) -> tuple[Trainer, PupilMaker]:
    """Load a trainer and a maker of pupils that share one base, in the type in which it is served."""
    base = FrozenBase(base_directory, fingerprint, device=device)
    maker = PupilMaker(base, base_directory, revisions, rank_max=rank_max, sampler=sampler)
    trainer = Trainer(base, maker.encoder, gate=gate, rank_max=rank_max, tokens_a_step=TOKENS_A_STEP)
    return trainer, maker
