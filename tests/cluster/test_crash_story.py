"""A Populace loses its gateway, its processes and its disk: two starts over a tiny base."""

import concurrent.futures
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from populace.settings.environment import process_environment
from populace.storage.records.master_key import MASTER_KEY_FILE
from tests.end_to_end.served import Served, ask, chat, kill_everything, serve, stop, wait_for_line
from tests.limits import ENGINE_HANG_SECONDS, HANG_SECONDS
from tests.small_base import make_small_base

pytestmark = [pytest.mark.engine, pytest.mark.ray]

READY = "Ctrl-C stops"
"""It says how to stop it after a first reply of its own."""

CONTEXT_TOKENS = 16_384
STORY_TOKENS = 12_000
"""So long that a reply of the tiny base is not whole when its gateway is killed."""

TALKING = 3
TURNS = 3


@pytest.fixture
def base(tmp_path: Path, base_directory: Path) -> Path:
    (tmp_path / "base").mkdir()
    base = make_small_base(tmp_path / "base", base_directory)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "max_position_embeddings": CONTEXT_TOKENS}))
    return base


def test_what_was_acknowledged_outlives_its_gateway_its_processes_and_its_disk(
    tmp_path: Path, base: Path
) -> None:
    bucket, key, new = f"file://{tmp_path}/bucket", tmp_path / "safe.key", tmp_path / "new"
    (tmp_path / "bucket").mkdir()
    options = ("--base", str(base))
    settings = {
        "POPULACE_JOURNAL": bucket,
        "POPULACE_ENCODER": "none",
        "POPULACE_CONTEXT_TOKENS": str(CONTEXT_TOKENS),
        "POPULACE_TURN_SECONDS_MAX": str(10 * ENGINE_HANG_SECONDS),
    }
    with serve(tmp_path, engine="torch", options=options, settings=settings) as served:
        wait_for_line(served, READY)
        check_second_serve(served, tmp_path / "other")
        acknowledged = [chat(served, served.create("ada"), "turn-0")["id"]]
        check_killed_gateway(served)
        acknowledged += [chat(served, "ada", f"turn-{number}")["id"] for number in range(1, TURNS)]
        served.create("erased")
        assert served.call("DELETE", "/v1/personal-models/erased").status_code == 200
        shutil.copy(served.data / MASTER_KEY_FILE, key)
        kill_everything(served)
    shutil.rmtree(served.data)
    restore(bucket, key, new)

    with serve(tmp_path, engine="torch", data=new, options=options, settings=settings) as served:
        wait_for_line(served, READY)
        # The caller's key and retries are known there, too.
        assert [turn["completion_id"] for turn in served.log_of("ada")] == acknowledged
        assert chat(served, "ada", f"turn-{TURNS - 1}")["id"] == acknowledged[-1]
        assert chat(served, "ada", f"turn-{TURNS}")["id"] not in acknowledged
        assert [turn["position"] for turn in served.log_of("ada")] == list(range(TURNS + 1))
        assert served.call("GET", "/v1/personal-models/erased").status_code == 404
        left_behind = stop(served, signal.SIGTERM)

    log = served.log.read_text()
    assert (left_behind, served.process.returncode) == ([], 0), "SIGTERM stops it as Ctrl-C does"
    assert "Stopping: commits first" in log
    assert "SIGTERM received" not in log, "that would be Ray's stack"
    assert f"POPULACE_DATA={new} " in log, "how to find it from another terminal"


def check_second_serve(served: Served, elsewhere: Path) -> None:
    """Another one is refused, by name, its port and its directory."""
    port = served.url.rsplit(":", 1)[1]
    taken = served.run("-m", "populace", "serve", "--data", str(elsewhere), "--port", port)
    same_directory = served.run("-m", "populace", "serve", "--data", str(served.data), "--port", port)

    assert (taken.returncode, same_directory.returncode) == (1, 1)
    assert "POPULACE_PORT" in taken.stderr
    assert not elsewhere.exists()
    assert f"in use by populace serve at {served.url}" in " ".join(same_directory.stderr.split())


def check_killed_gateway(served: Served) -> None:
    """The models that it was talking for answer again long before the deadline of their turns."""
    models = [served.create(f"cut-{number}") for number in range(TALKING)]
    talking = [threading.Event() for _ in models]
    headers = {"Authorization": f"Bearer {served.key}"}

    def talk(model: str, begun: threading.Event) -> None:
        body = {"model": model, "messages": ask("Tell me a long story."), "max_tokens": STORY_TOKENS}
        sent: Any = {"json": {**body, "stream": True, "ignore_eos": True}, "headers": headers}
        url = f"{served.url}/v1/chat/completions"
        try:
            with httpx.stream("POST", url, timeout=ENGINE_HANG_SECONDS, **sent) as reply:
                assert reply.status_code == 200, reply.read()
                for line in reply.iter_lines():
                    if line:
                        begun.set()
        finally:
            begun.set()

    with concurrent.futures.ThreadPoolExecutor(TALKING) as pool:
        told = [pool.submit(talk, model, begun) for model, begun in zip(models, talking, strict=True)]
        assert all(begun.wait(ENGINE_HANG_SECONDS) for begun in talking)
        os.kill(served.gateway_process().pid, signal.SIGKILL)
        assert all(isinstance(one.exception(), httpx.TransportError) for one in told)
    again = [chat(served, model, f"again-{model}")["id"] for model in models]

    logs = [served.log_of(model) for model in models]
    assert [[turn["finish_reason"] is None for turn in log] for log in logs] == [[True, False]] * TALKING
    assert [log[-1]["completion_id"] for log in logs] == again


def restore(bucket: str, key: Path, data: Path) -> None:
    command = ("-m", "populace", "restore", bucket, "--master-key", str(key), "--data", str(data))
    restored = subprocess.run(
        [sys.executable, *command],
        env=process_environment(),
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert restored.returncode == 0, restored.stderr
    assert f"Restored {1 + TALKING} models," in restored.stdout
