"""The Python face against a real service: in the cluster and over HTTP, blocking and for asyncio."""

import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

import populace
from tests.end_to_end.served import Served
from tests.limits import ENGINE_HANG_SECONDS
from tests.notes import count_start

pytestmark = [pytest.mark.engine, pytest.mark.ray]

ROOT = Path(__file__).parents[2]
QUESTION = "What is the capital of France?"

CLIENT = """
import asyncio, sys, populace

url, key, name, target = sys.argv[1:]
with populace.connect(url, api_key=key) as population:
    model = population.create(name, exist_ok=True)
    print(model.chat("What is the capital of France?", temperature=0, max_tokens=20))
    print("".join(model.chat("And of Italy?", stream=True, temperature=0, max_tokens=20)))
    print(len(model.log()), model.memory.version, model.export(target).stat().st_size > 1000)

async def main():
    async with populace.connect_async(url, api_key=key) as population:
        model = population.model(name)
        stream = await model.chat("And of Spain?", stream=True, temperature=0, max_tokens=20)
        texts = [text async for text in stream]
        print(len(texts) > 2, stream.interaction.position, stream.interaction.reply == "".join(texts))

asyncio.run(main())
"""


OWN_HANDLER = """
import asyncio, os, signal, sys, populace

def hear(*_):
    print("heard", flush=True)

signal.signal(signal.SIGTERM, hear)
with populace.connect(data=sys.argv[1]) as population:
    "".join(population.create("heard", exist_ok=True).chat("Hi!", stream=True, max_tokens=4))
    os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGTERM)

async def main():
    async with populace.connect_async(data=sys.argv[1]):
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)

asyncio.run(main())
"""


@pytest.fixture(params=["cluster", "http"])
def population(served: Served, request: pytest.FixtureRequest) -> Generator[populace.Population]:
    if request.param == "cluster":
        connected = populace.connect(data=served.data)
    else:
        connected = populace.connect(served.url, api_key=served.key)
    with connected:
        yield connected


@pytest.fixture
def ada(served: Served, request: pytest.FixtureRequest) -> str:
    return served.create(re.sub(r"\W", "-", request.node.name)[:60])


def test_a_stream_is_the_turn_that_the_log_has(population: populace.Population, ada: str) -> None:
    stream = population.model(ada).chat(QUESTION, stream=True, temperature=0, max_tokens=20)
    texts = list(stream)

    assert len(texts) > 2
    assert stream.interaction is not None
    (logged,) = population.model(ada).log()
    assert logged.reply == "".join(texts) == stream.interaction.reply


def test_a_stream_that_is_left_gives_its_turn_back(population: populace.Population, ada: str) -> None:
    model = population.model(ada)
    for _ in model.chat("Count to a thousand.", stream=True, ignore_eos=True, max_tokens=1000):
        break

    # The model is free at once, and not after the turn's time; what was asked first is in the log.
    assert model.chat(QUESTION, max_tokens=8, turn_seconds_max=60).position == 1
    assert [turn.answer is None for turn in model.log()] == [True, False]


def test_a_turn_is_the_same_over_http_and_in_the_cluster(served: Served, ada: str) -> None:
    with populace.connect(data=served.data) as near, populace.connect(served.url, api_key=served.key) as far:
        made = near.model(ada).chat(QUESTION, operation="op", temperature=0, max_tokens=20)
        again = far.model(ada).chat(QUESTION, operation="op", temperature=0, max_tokens=20)

        assert (again.replayed, again.reply, again.position) == (True, made.reply, made.position)
        assert far.model(ada).memory.norms == near.model(ada).memory.norms


def test_a_program_that_joins_the_cluster_keeps_its_terminal_and_its_handler_of_sigterm(
    served: Served,
) -> None:
    heard = served.run("-c", OWN_HANDLER, str(served.data))

    assert heard.stdout.split() == ["heard"] * 4, heard.stderr
    assert "INFO" not in heard.stderr


@pytest.fixture(scope="module")
def client_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own, into which the package was installed without extras."""
    folder = tmp_path_factory.mktemp("client")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__"))
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    count_start("environment")
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", source], check=True, timeout=ENGINE_HANG_SECONDS)
    return python


@pytest.mark.release("clients")
def test_a_client_in_an_environment_of_its_own_needs_neither_ray_nor_a_model_library(
    served: Served, ada: str, tmp_path: Path, client_python: Path
) -> None:
    for name in ("ray", "torch", "vllm", "transformers"):
        assert subprocess.run([client_python, "-c", f"import {name}"], capture_output=True).returncode == 1
    client = tmp_path / "client.py"
    client.write_text(CLIENT)
    done = subprocess.run(
        [client_python, client, served.url, served.key, ada, tmp_path / "ada.zip"],
        capture_output=True,
        text=True,
        timeout=ENGINE_HANG_SECONDS,
    )

    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert "Paris" in told[0]
    assert told[-2:] == ["2 2 True", "True 2 True"]


@pytest.mark.release("clients")
def test_serving_without_its_packages_is_one_line(client_python: Path, tmp_path: Path) -> None:
    command = [client_python, "-m", "populace", "serve", "--data", tmp_path / "data"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ENGINE_HANG_SECONDS)

    assert done.returncode == 1
    assert "pip install 'populace[serve]'" in done.stderr
    assert "Traceback" not in done.stderr
