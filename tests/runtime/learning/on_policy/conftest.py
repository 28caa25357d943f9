"""An engine that serves a tiny base on a thread of its own."""

from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from populace.engines.options import EngineOptions
from populace.engines.prompts import BaseTokenizer
from populace.engines.torch_engine import TorchEngine
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import EngineSampler, engine_sampler
from populace.storage.revisions import RevisionFiles
from tests.runtime.learning.on_policy.learners import FINGERPRINT


@pytest.fixture(scope="session")
def base(decided_base: Path) -> FrozenBase:
    return FrozenBase(decided_base, FINGERPRINT, dtype=torch.float32)


@pytest.fixture(scope="session")
def tokenizer(base_files: Path) -> BaseTokenizer:
    return BaseTokenizer(base_files)


@pytest.fixture(scope="session")
def revisions(tmp_path_factory: pytest.TempPathFactory) -> RevisionFiles:
    return RevisionFiles(tmp_path_factory.mktemp("store") / "revisions")


@pytest.fixture(scope="session")
def engines() -> list[TorchEngine]:
    """The one that the sampler samples from."""
    return []


@pytest.fixture(scope="session")
def sampler(
    decided_base: Path, revisions: RevisionFiles, engines: list[TorchEngine]
) -> Generator[EngineSampler]:
    async def start() -> TorchEngine:
        options = EngineOptions(
            decided_base, FINGERPRINT, context_tokens=512, sequences_max=32, dtype="float32", threads=1
        )
        engines.append(await TorchEngine.start(options))
        return engines[0]

    with engine_sampler(start, revisions) as started:
        yield started
