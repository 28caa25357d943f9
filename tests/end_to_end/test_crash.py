"""What was acknowledged is still there after a crash, once, and everything answers again."""

import concurrent.futures
import json
import os
import signal
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.served import Served, kill_everything, serve, stop

pytestmark = [pytest.mark.engine, pytest.mark.ray]

CLIENTS = 20
TURNS = 3


def chat(served: Served, model: str, operation: str) -> dict[str, Any]:
    """Make a turn as a careful client does: with an operation id, again after an error."""
    body = {"model": model, "messages": [{"role": "user", "content": operation}], "max_tokens": 8}
    give_up = time.monotonic() + 180
    while time.monotonic() < give_up:
        try:
            reply = served.call(
                "POST", "/v1/chat/completions", json=body, headers={"Idempotency-Key": operation}
            )
        except httpx.HTTPError:
            continue
        if reply.status_code == 200:
            return reply.json()
        assert reply.status_code in (408, 409, 429, 503), reply.text
        time.sleep(float(reply.headers.get("Retry-After", "1")))
    raise AssertionError(f"{operation} was never acknowledged")


def test_after_kill_9_of_the_host_every_acknowledged_turn_is_in_the_log_once(served: Served) -> None:
    models = [served.create(f"crash-{uuid.uuid4().hex[:8]}") for _ in range(CLIENTS)]
    first_done = threading.Event()

    def talk(model: str) -> list[dict[str, Any]]:
        replies: list[dict[str, Any]] = []
        for number in range(TURNS):
            replies.append(chat(served, model, f"{model}-{number}"))
            first_done.set()
        return replies

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        talking = {model: pool.submit(talk, model) for model in models}
        assert first_done.wait(120)
        os.kill(served.host_process().pid, signal.SIGKILL)
        acknowledged = {model: future.result(240) for model, future in talking.items()}

    for model in models:
        log = served.log_of(model)
        replies = acknowledged[model]
        assert [turn["position"] for turn in log] == [0, 1, 2]
        assert [turn["operation"] for turn in log] == [f"key-{model}-{number}" for number in range(TURNS)]
        assert [turn["completion_id"] for turn in log] == [reply["id"] for reply in replies]
        texts = [reply["choices"][0]["message"]["content"] for reply in replies]
        assert [turn["reply"] for turn in log] == texts


def test_an_operation_id_gives_the_same_completion_also_after_the_host_was_killed(served: Served) -> None:
    model = served.create(f"again-{uuid.uuid4().hex[:8]}")
    before = chat(served, model, "same-operation")

    os.kill(served.host_process().pid, signal.SIGKILL)
    after = chat(served, model, "same-operation")

    assert after["id"] == before["id"]
    assert after["choices"] == before["choices"]
    assert after["populace"]["replayed"] is True
    assert len(served.log_of(model)) == 1


def test_a_store_survives_kill_9_of_everything_and_ctrl_c_leaves_no_process(
    tmp_path: Path, base_directory: object
) -> None:
    del base_directory
    with serve(tmp_path, engine="torch") as served:
        served.create("ada")
        before = chat(served, "ada", "before the crash")
        kill_everything(served)

    with serve(tmp_path, engine="torch") as served:
        log = served.log_of("ada")
        port = served.url.rsplit(":", 1)[1]
        elsewhere = str(tmp_path / "other")
        taken = served.run("-m", "populace", "serve", "--data", elsewhere, "--port", port)
        same_directory = served.run("-m", "populace", "serve", "--data", str(served.data), "--port", port)
        left_behind = stop(served)

    assert [turn["completion_id"] for turn in log] == [before["id"]]
    assert left_behind == []
    assert served.process.returncode == 0
    assert taken.returncode == same_directory.returncode == 1
    assert "POPULACE_PORT" in taken.stderr
    assert f"in use by populace serve at {served.url}" in " ".join(same_directory.stderr.split())
    assert not (tmp_path / "other").exists()
    assert json.loads((served.data / "store.json").read_text())["shards"] == 8
