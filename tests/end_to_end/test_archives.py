"""A person takes a model with an adapter out of a running Populace and brings it back in."""

import json
import subprocess
import uuid
from pathlib import Path

import pytest

from populace.adapters.random_adapter import write_random_adapter
from tests.end_to_end.served import Served

pytestmark = [pytest.mark.engine, pytest.mark.ray]

QUESTION = {"messages": [{"role": "user", "content": "Who are you?"}], "temperature": 0, "max_tokens": 12}


def populace(served: Served, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return served.run("-m", "populace", "model", *map(str, arguments))


def answer(served: Served, model: str) -> str:
    reply = served.call("POST", "/v1/chat/completions", json={**QUESTION, "model": model})
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]["message"]["content"]


@pytest.fixture(scope="module")
def ada(served: Served, tmp_path_factory: pytest.TempPathFactory, base_directory: Path) -> str:
    """A model with an adapter of its own and two turns."""
    name = f"ada-{uuid.uuid4().hex[:8]}"
    adapter = write_random_adapter(tmp_path_factory.mktemp("adapter"), base_directory, seed=7)
    made = populace(served, "create", name, "--adapter", adapter)
    assert made.returncode == 0, made.stderr
    for _ in range(2):
        answer(served, name)
    return name


@pytest.fixture(scope="module")
def file(served: Served, ada: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept") / "ada.populace"
    done = populace(served, "export", ada, path)
    assert done.returncode == 0, done.stderr
    return path


def test_an_exported_model_comes_back_with_its_weights_and_its_log(
    served: Served, ada: str, file: Path
) -> None:
    name = f"{ada}-2"

    done = populace(served, "import", file, "--name", name, "--json")

    assert done.returncode == 0, done.stderr
    assert (
        json.loads(done.stdout)["aliases"]
        == served.call("GET", f"/v1/personal-models/{ada}").json()["aliases"]
    )
    assert served.log_of(name) == served.log_of(ada)
    assert answer(served, name) == answer(served, ada)


def test_the_python_face_writes_the_same_file_and_reads_it(
    served: Served, ada: str, file: Path, tmp_path: Path
) -> None:
    before = populace(served, "export", ada, tmp_path / "cli.populace")
    program = f"""
import populace
with populace.connect() as population:
    ada = population.model({ada!r})
    path = ada.export({str(tmp_path / "python.populace")!r})
    copy = population.import_model(path, {ada + "-3"!r})
    assert copy.log() and [t.reply for t in copy.log()] == [t.reply for t in ada.log()]
    assert copy.show().aliases == ada.show().aliases
    try:
        ada.export(path)
    except populace.InvalidRequest as error:
        print(error)
"""

    done = served.run("-c", program)

    assert before.returncode == 0, before.stderr
    assert done.returncode == 0, done.stderr
    assert "exists already" in done.stdout
    assert (tmp_path / "python.populace").read_bytes() == (tmp_path / "cli.populace").read_bytes()


def test_a_file_that_exists_is_replaced_only_when_told_to(served: Served, ada: str, tmp_path: Path) -> None:
    path = tmp_path / "kept.populace"
    path.write_bytes(b"something else")

    refused = populace(served, "export", ada, path)
    kept = path.read_bytes()
    replaced = populace(served, "export", ada, path, "--force")

    assert (refused.returncode, kept) == (1, b"something else")
    assert "--force" in refused.stderr
    assert replaced.returncode == 0, replaced.stderr
    assert path.read_bytes().startswith(b"PK")
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_exported_or_imported_is_told_in_a_sentence(
    served: Served, ada: str, file: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.populace"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)

    failures = [
        populace(served, "export", "nobody", tmp_path / "x"),
        populace(served, "export", ada, tmp_path / "no" / "folder"),
        populace(served, "import", damaged, "--name", "eve"),
        populace(served, "import", file),
        populace(served, "import", tmp_path / "absent"),
    ]

    said = [" ".join(one.stderr.split()) for one in failures]
    assert [one.returncode for one in failures] == [1] * 5
    for sentence, expected in zip(
        said,
        ["does not exist", "refused", "Nothing was imported", "exists already", "cannot be read"],
        strict=True,
    ):
        assert expected in sentence
        assert "Traceback" not in sentence
    assert served.call("GET", "/v1/personal-models/eve").status_code == 404
    assert list(tmp_path.iterdir()) == [damaged]
