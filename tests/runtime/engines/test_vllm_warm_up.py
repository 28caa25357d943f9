"""An engine that has started has made a step of each kind, and nothing is left of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from populace.settings.environment import process_environment
from tests.limits import ENGINE_HANG_SECONDS

pytest.importorskip("vllm")
pytestmark = pytest.mark.engine

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from populace.engines.options import EngineOptions
from populace.engines.vllm_engine import VllmEngine

asked = []
outputs = VllmEngine._outputs

def record(engine, call, *more):
    asked.append(call.lora is not None)
    return outputs(engine, call, *more)

async def main():
    VllmEngine._outputs = record
    engine = await VllmEngine.start(EngineOptions(Path(sys.argv[1]), "fingerprint", 256))
    left = sorted(await engine._llm.list_loras())
    print(json.dumps([asked, left, engine.statistics().running, list(engine.held())]))
    await engine.close()

asyncio.run(main())
"""


def test_the_engine_was_asked_with_an_adapter_and_has_it_no_more(
    base_directory: Path, tmp_path: Path
) -> None:
    # Its name is too long for that of a socket, which must not matter.
    scratch = tmp_path / ("a" * 100)
    scratch.mkdir()

    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(base_directory)],
        env=process_environment(TMPDIR=str(scratch)),
        capture_output=True,
        text=True,
        timeout=ENGINE_HANG_SECONDS,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr[-2000:]
    assert json.loads(ran.stdout.splitlines()[-1]) == [[False, True], [], 0, [[], []]]
    assert not list(scratch.glob("populace-warm-up-*"))


def test_the_warm_up_asks_for_the_likelihood_of_the_prompt_and_of_the_reply() -> None:
    from populace.engines.vllm_warm_up import warm_up_request

    asked = warm_up_request(256, with_memory=True)

    assert (asked.sampling.logprobs, asked.sampling.prompt_logprobs) == (1, 1)
    assert asked.memory is not None
