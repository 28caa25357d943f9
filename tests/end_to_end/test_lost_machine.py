"""A machine is lost with its disk; what it acknowledged is served again from its journal, by another one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from populace.settings.environment import process_environment
from populace.settings.running import find_running
from populace.storage.records.master_key import MASTER_KEY_FILE
from tests.end_to_end.served import chat, kill_everything, serve
from tests.limits import HANG_SECONDS

pytestmark = [pytest.mark.engine, pytest.mark.ray]

TURNS = 3


def test_what_a_lost_machine_acknowledged_is_served_from_its_journal(
    tmp_path: Path, base_directory: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    del base_directory
    bucket, key, new = f"file://{tmp_path}/bucket", tmp_path / "safe.key", tmp_path / "new"
    (tmp_path / "bucket").mkdir()
    monkeypatch.setenv("POPULACE_JOURNAL", bucket)
    with serve(tmp_path, engine="torch") as served:
        ada = served.create("ada")
        acknowledged = [chat(served, ada, f"turn-{number}")["id"] for number in range(TURNS)]
        served.create("erased")
        assert served.call("DELETE", "/v1/personal-models/erased").status_code == 200
        shutil.copy(served.data / MASTER_KEY_FILE, key)
        kill_everything(served)
    shutil.rmtree(served.data)
    command = ("-m", "populace", "restore", bucket, "--master-key", str(key), "--data", str(new))
    restored = subprocess.run(
        [sys.executable, *command],
        env=process_environment(),
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )

    assert restored.returncode == 0, restored.stderr
    assert "Restored 1 model," in restored.stdout
    with serve(tmp_path, engine="torch", data=new) as served:
        # The caller's key and retries are known there, too.
        assert [turn["completion_id"] for turn in served.log_of(ada)] == acknowledged
        assert chat(served, ada, "turn-2")["id"] == acknowledged[-1]
        assert chat(served, ada, "turn-3")["id"] not in acknowledged
        assert [turn["position"] for turn in served.log_of(ada)] == list(range(TURNS + 1))
        store_id = find_running(new).store_id
        kill_everything(served)
    shutil.rmtree(new)
    monkeypatch.setenv("POPULACE_MASTER_KEY", str(key))
    monkeypatch.setenv("POPULACE_TAKE_OVER", store_id)
    with serve(tmp_path, engine="torch", data=tmp_path / "third") as served:
        assert chat(served, ada, "turn-2")["id"] == acknowledged[-1]
        assert chat(served, ada, "turn-4")["id"] not in acknowledged
        assert [turn["position"] for turn in served.log_of(ada)] == list(range(TURNS + 2))
