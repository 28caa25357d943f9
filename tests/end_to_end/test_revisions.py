"""A person gives a model that talks a new adapter; the old one answers until the new one is ready."""

import json
import subprocess
import uuid
from pathlib import Path

import pytest

from populace.adapters.random_adapter import write_random_adapter
from tests.end_to_end.served import Served

pytestmark = [pytest.mark.engine, pytest.mark.ray]


def populace(served: Served, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return served.run("-m", "populace", "model", *map(str, arguments))


def revision_of_answer(served: Served, model: str) -> str:
    reply = served.openai().chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": "Who are you?"}], max_tokens=4
    )
    assert reply.parse().choices[0].message.content is not None
    return served.log_of(model.split("@")[0])[-1]["revision"]


def test_a_new_adapter_is_published_and_answers(served: Served, tmp_path: Path, base_directory: Path) -> None:
    name = served.create(f"ada-{uuid.uuid4().hex[:8]}")
    first, second = (
        write_random_adapter(tmp_path / str(seed), base_directory, seed=seed) for seed in (21, 22)
    )

    assert revision_of_answer(served, name) == "base"
    for adapter, options in ((first, ()), (second, ("--alias", "canary"))):
        done = populace(served, "publish", name, adapter, *options)
        assert done.returncode == 0, done.stderr

    listed = json.loads(populace(served, "revisions", name, "--json").stdout)
    assert [(one["readiness"], one["method"], one["rank"]) for one in listed] == [
        ("ready", "imported", 8)
    ] * 2
    assert revision_of_answer(served, name) == listed[0]["id"]
    assert revision_of_answer(served, f"{name}@canary") == listed[1]["id"]
    table = populace(served, "revisions", name).stdout
    assert "@latest" in table
    assert "@canary" in table


@pytest.mark.parametrize("fault", ["truncated", "pickle only", "absent"])
def test_what_is_no_adapter_is_refused_by_name_and_the_model_answers_as_before(
    served: Served, tmp_path: Path, base_directory: Path, fault: str
) -> None:
    name = served.create(f"eve-{uuid.uuid4().hex[:8]}")
    adapter = write_random_adapter(tmp_path / "adapter", base_directory, seed=23)
    tensors = adapter / "adapter_model.safetensors"
    if fault == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:-100])
    elif fault == "pickle only":
        tensors.rename(adapter / "adapter_model.bin")
    else:
        adapter = tmp_path / "nowhere"

    refused = populace(served, "publish", name, adapter)

    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr
    assert revision_of_answer(served, name) == "base"
    assert json.loads(populace(served, "revisions", name, "--json").stdout) == []
