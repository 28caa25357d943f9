"""What was acknowledged is still there after a crash, once, and everything answers again."""

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.served import Served, ask, chat, kill_everything, serve, stop
from tests.limits import ENGINE_HANG_SECONDS, HANG_SECONDS
from tests.living import wait_ended

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.release("cluster")]

CLIENTS = 20
TALKING = 3
AGENT = re.compile("ray::[A-Za-z]*Agent")
TURNS = 3


ENGINE_STATES = """
import sys, populace
from ray import serve

with populace.connect(data=sys.argv[1]):
    print(*serve.status().applications["populace-engine"].deployments["engine"].replica_states)
"""


def wait_for_line(served: Served, text: str) -> None:
    give_up = time.monotonic() + ENGINE_HANG_SECONDS
    while text not in served.log.read_text() and time.monotonic() < give_up:
        time.sleep(0.2)


def wait_until_recovered(served: Served) -> None:
    """Wait until Serve's controller says of the engine that all that should run does."""
    give_up = time.monotonic() + ENGINE_HANG_SECONDS
    states = ""
    while time.monotonic() < give_up and states != "RUNNING":
        states = served.run("-c", ENGINE_STATES, str(served.data)).stdout.strip()
    assert states == "RUNNING"


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
        assert first_done.wait(ENGINE_HANG_SECONDS)
        os.kill(served.host_process().pid, signal.SIGKILL)
        acknowledged = {model: future.result(ENGINE_HANG_SECONDS) for model, future in talking.items()}

    for model in models:
        log = served.log_of(model)
        replies = acknowledged[model]
        assert [turn["position"] for turn in log] == [0, 1, 2]
        assert [turn["operation"] for turn in log] == [f"key-{model}-{number}" for number in range(TURNS)]
        assert [turn["completion_id"] for turn in log] == [reply["id"] for reply in replies]
        texts = [reply["choices"][0]["message"]["content"] for reply in replies]
        assert [turn["reply"] for turn in log] == texts


def test_after_kill_9_of_the_gateway_the_models_it_was_talking_for_answer_long_before_the_deadline(
    tmp_path: Path, base_directory: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    del base_directory
    monkeypatch.setenv("POPULACE_TURN_SECONDS_MAX", str(10 * ENGINE_HANG_SECONDS))
    with serve(tmp_path, engine="torch") as served:
        # The process that was started asks the gateway for a first reply.
        wait_for_line(served, "Ctrl-C stops")
        models = [served.create(f"cut-{number}") for number in range(TALKING)]
        talking = [threading.Event() for _ in models]

        def begin(number: int) -> None:
            body = {"model": models[number], "messages": ask("Tell me a long story."), "max_tokens": 1000}
            headers = {"Authorization": f"Bearer {key}"}
            url = f"{served.url}/v1/chat/completions"
            with contextlib.suppress(httpx.HTTPError):
                options: Any = {"json": {**body, "stream": True}, "timeout": ENGINE_HANG_SECONDS}
                with httpx.stream("POST", url, headers=headers, **options) as reply:
                    for line in reply.iter_lines():
                        if line:
                            talking[number].set()

        key = served.key
        with concurrent.futures.ThreadPoolExecutor(TALKING) as pool:
            cut = [pool.submit(begin, number) for number in range(TALKING)]
            assert all(begun.wait(ENGINE_HANG_SECONDS) for begun in talking)
            os.kill(served.gateway_process().pid, signal.SIGKILL)
            concurrent.futures.wait(cut)
        again = [chat(served, model, f"again-{model}") for model in models]

        assert [turn["completion_id"] for model in models for turn in served.log_of(model)] == [
            reply["id"] for reply in again
        ]


def test_after_kill_9_of_serves_controller_the_engine_goes_on_and_so_does_the_turn_that_it_makes(
    served: Served,
) -> None:
    model = served.create(f"led-{uuid.uuid4().hex[:8]}")
    engine, controller = served.replica_process(), served.controller_process()
    body: dict[str, Any] = {"model": model, "messages": ask("Tell me a long story."), "max_tokens": 200}
    pieces: list[str] = []
    reason = None
    with served.openai().chat.completions.create(**body, stream=True) as stream:
        for chunk in stream:
            if not pieces:
                controller.kill()
            pieces.append(chunk.choices[0].delta.content or "")
            reason = chunk.choices[0].finish_reason

    # Another one has looked at all replicas when it knows their states.
    wait_until_recovered(served)
    chat(served, model, "afterwards")

    assert reason in ("stop", "length")
    assert [turn["reply"] for turn in served.log_of(model)][:1] == ["".join(pieces)]
    assert served.controller_process() != controller
    assert served.replica_process() == engine


def test_it_ends_when_an_agent_of_ray_was_killed_so_that_a_supervisor_starts_it_again(
    tmp_path: Path, base_directory: object
) -> None:
    """Ray's raylet ends with its agents, and takes all parts along."""
    del base_directory
    with serve(tmp_path, engine="torch") as served:
        wait_for_line(served, "Ctrl-C stops")
        family = served.family()
        served.agent_process().kill()

        assert served.process.wait(HANG_SECONDS) == 1
        assert wait_ended(family) == []

    assert "Ray's raylet has ended" in " ".join(served.log.read_text().split())


def test_kill_9_of_serve_alone_leaves_no_process(tmp_path: Path, base_directory: object) -> None:
    """Ray ends with it, and so do the processes that others started: vLLM's of a replica."""
    del base_directory
    with serve(tmp_path, engine="vllm") as served:
        wait_for_line(served, "Ctrl-C stops")
        # Ray's agents of a raylet that is gone end by themselves, up to two minutes later.
        family = [one for one in served.family() if not AGENT.match("".join(one.cmdline()))]
        assert [one for one in family if "".join(one.cmdline()).startswith("VLLM::EngineCore")]
        served.process.kill()

        served.process.wait(HANG_SECONDS)
        assert wait_ended(family) == []


def test_sigterm_stops_it_as_ctrl_c_does(tmp_path: Path, base_directory: object) -> None:
    del base_directory
    with serve(tmp_path, engine="torch") as served:
        # It says how to talk to it after a first reply of its own.
        wait_for_line(served, "Ctrl-C stops")
        left_behind = stop(served, signal.SIGTERM)

    log = served.log.read_text()
    assert (left_behind, served.process.returncode) == ([], 0)
    assert "Stopping: commits first" in log
    assert "SIGTERM received" not in log, "that would be Ray's stack"
    assert f"POPULACE_DATA={served.data} " in log, "how to find it from another terminal"


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
    assert json.loads((served.data / "store.json").read_text())["shards"] == 64
