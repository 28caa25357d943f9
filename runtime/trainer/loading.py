"""Loads what training needs of a base: its weights, its tokenizer, and what judges."""

from pathlib import Path
from typing import NamedTuple

from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import Sampler
from populace.learning.trainer import Trainer
from populace.policies.evaluation_gate import GateRule
from populace.storage.revisions import RevisionFiles
from populace.trainer.runs import RunBuilder

TOKENS_A_STEP = 1024
"""Some seconds on a core: nobody who stops a trainer waits for longer."""


class LoadedTrainer(NamedTuple):
    """What works on jobs, of one base: ``runs`` begins them, ``trainer`` takes their steps."""

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
) -> LoadedTrainer:
    """Load the base in the type in which it is served, and what trains on it."""
    base = FrozenBase(base_directory, fingerprint, device=device)
    runs = RunBuilder(base, base_directory, revisions, rank_max=rank_max, sampler=sampler)
    trainer = Trainer(base, runs.encoder, gate=gate, rank_max=rank_max, tokens_a_step=TOKENS_A_STEP)
    return LoadedTrainer(trainer, runs)
