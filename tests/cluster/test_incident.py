"""The program that makes an incident sees it in the metrics, the log and a trace of a real Populace."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import ENGINE_HANG_SECONDS

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.release("cluster")]

PROGRAM = Path(__file__).parents[2] / "examples" / "incident.py"


def test_a_host_that_is_killed_under_load_is_told_by_logs_metrics_and_a_trace(
    tmp_path: Path, base_directory: object
) -> None:
    del base_directory
    kept = tmp_path / "incident.json"

    ended = subprocess.run(
        [sys.executable, str(PROGRAM), "--people", "6", "--json", str(kept)],
        capture_output=True,
        text=True,
        timeout=2 * ENGINE_HANG_SECONDS,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(kept.read_text())["findings"]
    assert {finding["where"] for finding in found} == {"metrics", "log", "trace", "clients"}
    assert all(finding["is_there"] for finding in found)
