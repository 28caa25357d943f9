"""The checks for a GPU run on the processor, and say so where there is no GPU."""

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from tests.house.source_tree import ROOT

NAMES = 6


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/gpu_check.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.engine
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, on which it runs instead")
def test_without_a_gpu_it_says_so_and_ends_with_a_status_of_its_own() -> None:
    done = run("--part", "a")

    assert done.returncode == 3
    assert "no GPU that torch finds" in done.stderr
    assert done.stdout == ""


@pytest.mark.engine
@pytest.mark.release("engines")
def test_part_a_passes_on_the_processor() -> None:
    done = run("--part", "a", "--device", "cpu", "--json")

    checks = lines(done)
    assert [line for line in checks if not line["passed"]] == []
    assert len(checks) == NAMES
    assert done.returncode == 0, done.stderr
    [memory] = [line for line in checks if "memory" in line["check"]]
    assert not memory["captured"]


@pytest.mark.engine
@pytest.mark.release("engines")
def test_part_b_passes_on_the_processor(base_directory: object) -> None:
    done = run("--part", "b", "--device", "cpu", "--json")

    [line] = lines(done)
    assert line["passed"], line
    assert done.returncode == 0, done.stderr
