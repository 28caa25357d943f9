"""Parts of Ray are killed, or ``populace serve`` alone: the engine goes on, or nothing is left."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.served import Served, ask, chat, serve, wait_for_line
from tests.limits import ENGINE_HANG_SECONDS, HANG_SECONDS
from tests.living import wait_ended

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.release("cluster")]

AGENT = re.compile("ray::[A-Za-z]*Agent")


ENGINE_STATES = """
import sys, populace
from ray import serve

with populace.connect(data=sys.argv[1]):
    print(*serve.status().applications["populace-engine"].deployments["engine"].replica_states)
"""


def wait_until_recovered(served: Served) -> None:
    """Wait until Serve's controller says of the engine that all that should run does."""
    give_up = time.monotonic() + ENGINE_HANG_SECONDS
    states = ""
    while time.monotonic() < give_up and states != "RUNNING":
        states = served.run("-c", ENGINE_STATES, str(served.data)).stdout.strip()
    assert states == "RUNNING"


def test_after_kill_9_of_serves_controller_the_engine_goes_on_and_so_does_the_turn_that_it_makes(
    tmp_path: Path, base_directory: object
) -> None:
    del base_directory
    with serve(tmp_path, engine="torch") as served:
        wait_for_line(served, "Ctrl-C stops")
        check_killed_controller(served, served.create("led"))


def check_killed_controller(served: Served, model: str) -> None:
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
