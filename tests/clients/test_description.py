"""A running server answers as its ``/openapi.json`` says: schemathesis asks each route, and finds nothing."""

import subprocess
import tomllib
from pathlib import Path

import pytest

from populace.settings.environment import process_environment
from tests.clients.environments import prepare
from tests.clients.pinned import HERE, Client
from tests.end_to_end.served import Served
from tests.limits import ENGINE_HANG_SECONDS

pytestmark = [pytest.mark.client, pytest.mark.release("clients")]

PINS = tomllib.loads((HERE / "schemathesis_pins.toml").read_text(encoding="utf-8"))


def test_every_route_answers_as_its_description_says(served: Served, tmp_path: Path) -> None:
    checker = Client("schemathesis", "schemathesis", "", "", tuple(PINS["packages"]), tuple(PINS["needs"]))
    program = prepare(checker) / "bin" / "schemathesis"
    # Of a tenant of its own, as it makes and erases whatever it finds a name for.
    made = served.run("-m", "populace", "key", "create", "checked", "--role", "admin")
    key = next(word for word in made.stdout.split() if word.startswith("populace_"))
    headers = {"Authorization": f"Bearer {key}"}
    served.call("POST", "/v1/personal-models", json={"name": "ada"}, headers=headers)
    said = {"model": "ada", "messages": [{"role": "user", "content": "Hi."}], "max_tokens": 4}
    assert served.call("POST", "/v1/chat/completions", json=said, headers=headers).status_code == 200

    ran = subprocess.run(
        [program, "--config-file", HERE / "schemathesis.toml", "run", f"{served.url}/openapi.json"],
        cwd=tmp_path,
        env=process_environment(API_KEY=key),
        capture_output=True,
        text=True,
        timeout=ENGINE_HANG_SECONDS,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout[-10_000:] + ran.stderr[-2000:]
    assert "Tested: " in ran.stdout
