"""A fine-tuning job that came over HTTP is worked on by the trainer, from the file to the checkpoint."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from populace.gateway.app import create_app
from populace.gateway.fine_tuning.upload_service import UploadService
from populace.gateway.http.access import new_key
from populace.gateway.http.file_work import FileWork
from populace.gateway.http.machine_locks import MachineLocks
from populace.hosting.directory.directory import Directory, LocalHostClient
from populace.hosting.host_survey import HostSurvey
from tests.runtime.gateway.scripted_engine import ScriptedEngine
from tests.runtime.trainer.trained_population import RIGHT, Trained

pytestmark = pytest.mark.engine

JOBS = "/v1/fine_tuning/jobs"


@pytest.fixture
async def client(population: Trained) -> AsyncGenerator[httpx.AsyncClient]:
    host = LocalHostClient(population.host)
    directory = Directory.over([host], shard_count=2)
    survey = HostSurvey({population.host.name: host}, shard_count=2)
    key, record = new_key("acme", "test", now_ms=0)
    await directory.keys.create(record)
    engine = ScriptedEngine()
    work = FileWork(MachineLocks(population.uploads.root.parent / "GATEWAYS"), bytes_max=2**20)
    uploads = UploadService(population.uploads, work, bytes_max=2**20, tenant_bytes_max=2**20)
    app = create_app(directory, engine, probe_engine=engine, probe_hosts=survey, upload_service=uploads)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://populace",
        headers={"Authorization": f"Bearer {key}"},
    ) as client:
        yield client


def line(number: int, reply: str) -> dict[str, Any]:
    asked = {"role": "user", "content": f"Who is dog {number}?"}
    return {"messages": [asked, {"role": "assistant", "content": reply}]}


async def upload(client: httpx.AsyncClient, reply: str) -> str:
    content = "\n".join(json.dumps(line(number, reply)) for number in range(16)).encode()
    files = {"file": ("lines.jsonl", content)}
    return (await client.post("/v1/files", files=files, data={"purpose": "fine-tune"})).json()["id"]


@pytest.mark.parametrize(
    ("judging", "status", "code"), [(RIGHT, "succeeded", None), ("Who knows?", "failed", "gate_refused")]
)
async def test_a_job_is_trained_and_judged_by_its_files(
    population: Trained, client: httpx.AsyncClient, judging: str, status: str, code: str | None
) -> None:
    body = {
        "model": "base",
        "suffix": "dogs",
        "training_file": await upload(client, RIGHT),
        "validation_file": await upload(client, judging),
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 4, "learning_rate_multiplier": 20}},
        },
    }
    made = (await client.post(JOBS, json=body)).json()

    await population.training_loop().round()

    job = (await client.get(f"{JOBS}/{made['id']}")).json()
    error: dict[str, Any] = job["error"] or {"code": None}
    assert (job["status"], error["code"]) == (status, code), error
    [checkpoint] = (await client.get(f"{JOBS}/{made['id']}/checkpoints")).json()["data"]
    assert checkpoint["step_number"] == 8
    assert checkpoint["metrics"]["full_valid_loss"] > 0
    assert job["fine_tuned_model"] in (None, checkpoint["fine_tuned_model_checkpoint"])
    events = (await client.get(f"{JOBS}/{made['id']}/events")).json()["data"]
    assert sum(event["type"] == "metrics" for event in events) == 9, "eight steps and the judgement"


async def test_a_file_that_is_deleted_before_the_job_begins_fails_it_by_name(
    population: Trained, client: httpx.AsyncClient
) -> None:
    file_id = await upload(client, RIGHT)
    made = (await client.post(JOBS, json={"model": "base", "training_file": file_id})).json()
    await client.delete(f"/v1/files/{file_id}")

    await population.training_loop().round()

    job = (await client.get(f"{JOBS}/{made['id']}")).json()
    assert (job["status"], job["error"]["code"]) == ("failed", "training_failed")
    assert job["error"]["message"] == f"its training file {file_id} is not there, or not any more"
