"""Adapters come from another machine over HTTP alone: they answer, are compared, and are merged."""

import io
import uuid
import zipfile
from pathlib import Path

import pytest

from populace.adapters.random_adapter import write_random_adapter
from tests.end_to_end.served import Served

pytestmark = [pytest.mark.engine, pytest.mark.ray]


def upload(folder: Path, base_directory: Path, *, seed: int) -> bytes:
    """Zip a random adapter's directory."""
    adapter = write_random_adapter(folder / str(seed), base_directory, seed=seed)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in adapter.iterdir():
            archive.write(path, f"my-lora/{path.name}")
    return file.getvalue()


def revision_of_answer(served: Served, model: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 2}
    reply = served.call("POST", "/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return reply.headers["x-populace-revision"]


def test_adapters_that_are_uploaded_answer_and_are_compared_and_merged(
    served: Served, tmp_path: Path, base_directory: Path
) -> None:
    ada, ben, panel = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("ada", "ben", "panel"))
    first, second = (upload(tmp_path, base_directory, seed=seed) for seed in (31, 32))
    path = f"/v1/personal-models/{ada}"

    created = served.call("POST", f"{path}/revisions", params={"create": True}, content=first)
    canary = served.call("POST", f"{path}/revisions", params={"alias": "canary"}, content=second)
    other = served.call(
        "POST", f"/v1/personal-models/{ben}/revisions", params={"create": True}, content=second
    )
    answered = revision_of_answer(served, ada)
    moved = served.call("PUT", f"{path}/aliases/latest", json={"revision": canary.json()["id"][:12]})
    diff = served.call("GET", f"{path}/diff", params={"one": "canary", "other": created.json()["id"]})
    back = served.call("PUT", f"{path}/aliases/latest", json={"revision": created.json()["id"]})

    assert [one.status_code for one in (created, canary, other, moved, diff, back)] == [
        *[201] * 3,
        *[200] * 3,
    ]
    assert answered == created.json()["id"]
    assert canary.json()["id"] == other.json()["id"] == moved.json()["aliases"]["latest"]
    assert len(diff.json()["data"][0]["angles"]) == 8
    for name in (ada, ben):
        served.call("PUT", f"/v1/personal-models/{name}/sharing", json={"sharing": "texts"})
    merged = served.call(
        "POST", "/v1/population/merge", json={"models": [ada, ben], "into": panel, "method": "svd"}
    )
    assert merged.status_code == 201, merged.text
    assert revision_of_answer(served, panel) == merged.json()["revision"]["id"]


def test_what_is_no_adapter_is_refused_and_the_model_answers_as_before(
    served: Served, tmp_path: Path, base_directory: Path
) -> None:
    name = served.create(f"eve-{uuid.uuid4().hex[:8]}")
    data = upload(tmp_path, base_directory, seed=33)

    for content in (data[:-100], b"hello"):
        refused = served.call("POST", f"/v1/personal-models/{name}/revisions", content=content)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "adapter_invalid")

    assert revision_of_answer(served, name) == "base"
