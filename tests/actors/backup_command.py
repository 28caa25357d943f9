"""``populace backup`` and ``populace restore`` as an operator runs them, beside whoever serves the store."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from populace.settings.environment import process_environment
from tests.limits import HANG_SECONDS


def populace(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own; answers what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "populace", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
        env=process_environment(),
    )


def populace_json(*arguments: object) -> dict[str, Any]:
    """Run the command, which must succeed; answers the JSON object that it printed."""
    done = populace(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def back_up(data: Path, backup: Path, keys: Path) -> dict[str, Any]:
    return populace_json("backup", backup, "--keys", keys, "--data", data)


def renew_keys(data: Path, keys: Path) -> dict[str, Any]:
    return populace_json("backup", "--keys", keys, "--keys-only", "--data", data)


def restore(backup: Path, keys: Path, data: Path, *options: object) -> dict[str, Any]:
    return populace_json("restore", backup, "--keys", keys, "--data", data, *options)
