"""Both engines on a base of another architecture, with a module that was trained for it by the commands."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from examples.memory_module.__main__ import app
from populace.actors.engine import OwnedEngine
from populace.base.prepare import prepare_base
from populace.engines.options import EngineOptions
from populace.settings.settings import Settings
from tests.runtime.engines.engines_under_test import both_engines
from tests.small_base import make_second_base

CONTEXT_TOKENS = 256


class Rule(NamedTuple):
    """Which module is trained, from how many episodes and for how many steps."""

    gated: bool
    episodes: int
    steps: int


RULES = [Rule(gated=gated, episodes=60, steps=100) for gated in (True, False)]


def memory(*arguments: object) -> None:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="package")
def base_directory(base_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_second_base(tmp_path_factory.mktemp("second-base"), base_files)


@pytest.fixture(scope="package", params=RULES, ids=str)
def rule(request: pytest.FixtureRequest) -> Rule:
    return request.param


@pytest.fixture(scope="package")
def module(base_directory: Path, rule: Rule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The start is solved for, and some steps are taken from it."""
    folder = tmp_path_factory.mktemp("module")
    made = folder / "module.safetensors"
    options = ("--gated", "--rank", 8, "--layer-step", 2) if rule.gated else ("--probe-batches", 20)
    train, others = folder / "train.jsonl", folder / "others.jsonl"
    base = ("--base", base_directory)
    memory("corpus", train, "--own-words", "--episodes", rule.episodes, *base)
    memory("corpus", others, "--own-words", "--part", "held-out", "--episodes", 4, *base)
    # Beside other tests, a second thread waits longer than it helps.
    steps = ("--steps", rule.steps, "--validate-every", rule.steps, "--batch", 2, "--threads", 1)
    memory("train", train, "--held-out", others, "--to", made, *base, *steps, *options)
    return made


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def engines(base_directory: Path, module: Path) -> AsyncGenerator[dict[str, OwnedEngine]]:
    fingerprint = prepare_base(str(base_directory), Settings.from_environment().cache).fingerprint
    options = EngineOptions(
        base_directory, fingerprint, context_tokens=CONTEXT_TOKENS, dtype="float32", memory_module=module
    )
    async with both_engines(options) as engines:
        yield engines
