"""Fine-tuning jobs as OpenAI's clients ask for them, over the trainings that there are."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from populace.actors.errors import HostUnavailable
from populace.actors.training import JobProgress, TrainingJob
from populace.actors.turn import ModelId
from tests.actors.trainings import trained
from tests.limits import HANG_SECONDS
from tests.runtime.gateway.population import Population, chat_body

JOBS = "/v1/fine_tuning/jobs"
USER, REPLY = {"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi."}
CHATS: list[Any] = [{"messages": [USER, REPLY]}] * 10
PAIRS: list[Any] = [
    {
        "input": {"messages": [USER]},
        "preferred_output": [REPLY],
        "non_preferred_output": [{"role": "assistant", "content": "No."}],
    }
] * 10
TASKS: list[Any] = [{"messages": [USER], "answer": "Hi."}] * 16
CHECK = {
    "type": "string_check",
    "name": "same",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}
PROGRESS = JobProgress(3, 3, 0.5, 90, 6.0, ((0, 1.5), (1, 0.75), (2, 0.5)))


async def upload(client: httpx.AsyncClient, lines: Sequence[Any] = CHATS, purpose: str = "fine-tune") -> str:
    content = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    files = {"file": ("lines.jsonl", content.encode())}
    return (await client.post("/v1/files", files=files, data={"purpose": purpose})).json()["id"]


async def create(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    told = {"model": "ada", **body}
    if "training_file" not in told:
        told["training_file"] = await upload(client)
    return await client.post(JOBS, json=told)


async def worked_on(population: Population, name: str, *objections: str, number: int = 0) -> TrainingJob:
    """Work on the model's job as a trainer would; return it as it ended."""
    model = ModelId("acme", name)
    job = await population.directory.jobs.start(model, number)
    made = trained(job, f"{name}-{number}", *objections)
    assert made.lineage is not None
    scores = {"held_out_loss": 0.6, "held_out_loss_parent": 0.9, "gain": 0.3}
    made = replace(made, lineage=replace(made.lineage, scores=scores))
    return await population.directory.jobs.finish(model, number, made, PROGRESS)


async def test_a_job_from_the_file_to_a_reply_of_its_model(
    population: Population, client: httpx.AsyncClient
) -> None:
    training, validation = await upload(client), await upload(client, CHATS[:2])
    metadata = {"team": "ghent"}
    hyperparameters = {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 2}
    method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}

    made = await create(
        client,
        training_file=training,
        validation_file=validation,
        method=method,
        seed=7,
        metadata=metadata,
        integrations=[],
    )

    job = FineTuningJob.model_validate(made.json(), strict=True)
    assert (made.status_code, job.status, job.model, job.fine_tuned_model) == (200, "queued", "ada", None)
    assert (job.training_file, job.validation_file, job.seed) == (training, validation, 7)
    assert (job.metadata, job.organization_id, job.error) == (metadata, "acme", None)
    told = job.hyperparameters
    assert (told.n_epochs, told.batch_size, told.learning_rate_multiplier) == (3, 8, 2.0)
    [open_job] = await population.directory.jobs.open_jobs()
    options = open_job.job.options
    assert (options.method, options.epochs, options.learning_rate, options.seed) == ("sft", 3.0, 1e-3, 7)
    assert (options.training_file, options.validation_file) == (training, validation)

    await worked_on(population, "ada")

    ended = FineTuningJob.model_validate((await client.get(f"{JOBS}/{job.id}")).json(), strict=True)
    assert (ended.status, ended.trained_tokens, ended.error) == ("succeeded", 90, None)
    assert ended.finished_at is not None
    assert ended.fine_tuned_model is not None
    reply = (await client.post("/v1/chat/completions", json=chat_body(model=ended.fine_tuned_model))).json()
    assert ended.fine_tuned_model == f"ada@{reply['populace']['revision']}"


async def test_a_job_of_the_base_makes_a_model_with_the_suffix_as_its_name(
    population: Population, client: httpx.AsyncClient
) -> None:
    named = (await create(client, model="base", suffix="our-style")).json()
    other = (await create(client, model="base")).json()

    assert (named["id"], named["model"], named["personal_model"]) == (
        "ftjob-our-style-0",
        "base",
        "our-style",
    )
    assert other["personal_model"].startswith("ft-")
    await worked_on(population, "our-style")
    assert (await client.get(f"{JOBS}/{named['id']}")).json()["fine_tuned_model"].startswith("our-style@")
    taken = await create(client, model="base", suffix="our-style")
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "model_exists")


async def test_a_job_goes_on_from_a_fine_tuned_model_or_begins_from_the_base(
    population: Population, client: httpx.AsyncClient
) -> None:
    first = (await create(client)).json()
    await worked_on(population, "ada")
    made = (await client.get(f"{JOBS}/{first['id']}")).json()["fine_tuned_model"]

    again = (await create(client, model=made)).json()
    job = await worked_on(population, "ada", number=1)
    old = await create(client, model=made)
    anew = (await create(client, model="ada@base")).json()

    assert (again["model"], job.parent) == (made, made.removeprefix("ada@"))
    assert (old.status_code, old.json()["error"]["param"]) == (400, "model")
    assert (anew["status"], (await population.directory.jobs.open_jobs())[0].job.options.from_base) == (
        "queued",
        True,
    )


async def test_what_the_gate_refused_is_a_failed_job_with_the_reasons(
    population: Population, client: httpx.AsyncClient
) -> None:
    made = (await create(client)).json()
    ended = await worked_on(population, "ada", "it is no better", "it forgot")

    job = FineTuningJob.model_validate((await client.get(f"{JOBS}/{made['id']}")).json(), strict=True)

    assert (job.status, job.fine_tuned_model) == ("failed", None)
    assert job.error is not None
    assert (job.error.code, job.error.message) == ("gate_refused", "it is no better; it forgot")
    [checkpoint] = (await client.get(f"{JOBS}/{job.id}/checkpoints")).json()["data"]
    assert checkpoint["fine_tuned_model_checkpoint"] == f"ada@{ended.candidate}"
    reply = await client.post(
        "/v1/chat/completions", json=chat_body(model=checkpoint["fine_tuned_model_checkpoint"])
    )
    assert reply.json()["populace"]["revision"] == ended.candidate, "what was refused can be looked at"


@pytest.mark.parametrize(("state", "code"), [("skipped", "nothing_to_train"), ("failed", "training_failed")])
async def test_a_training_that_ended_without_a_model_is_a_failed_job(
    population: Population, client: httpx.AsyncClient, state: Any, code: str
) -> None:
    made = (await create(client)).json()
    await population.directory.jobs.end(ModelId("acme", "ada"), 0, state, "there is a reason")

    job = FineTuningJob.model_validate((await client.get(f"{JOBS}/{made['id']}")).json(), strict=True)

    assert job.error is not None
    assert (job.status, job.error.code, job.error.message) == ("failed", code, "there is a reason")
    events = (await client.get(f"{JOBS}/{job.id}/events")).json()["data"]
    assert (events[0]["level"], events[0]["message"]) == (
        "error",
        f"The job failed ({code}): there is a reason",
    )


async def test_events_tell_of_each_step_and_of_the_end_newest_first(
    population: Population, client: httpx.AsyncClient
) -> None:
    made = (await create(client)).json()
    await worked_on(population, "ada")
    path = f"{JOBS}/{made['id']}/events"

    listed = (await client.get(path)).json()

    events = [FineTuningJobEvent.model_validate(event, strict=True) for event in listed["data"]]
    assert [event.message for event in events] == [
        "The job has successfully completed",
        events[1].message,
        "Step 3/3: train loss=0.5000",
        "Step 2/3: train loss=0.7500",
        "Step 1/3: train loss=1.5000",
        "Fine-tuning job started",
        f"Created fine-tuning job: {made['id']}",
    ]
    assert events[1].message.startswith("New fine-tuned model created: ada@")
    assert listed["data"][1]["data"]["valid_loss"] == 0.6
    assert listed["data"][2]["data"] == {"step": 3, "total_steps": 3, "train_loss": 0.5}
    assert (events[2].type, events[0].type, listed["has_more"]) == ("metrics", "message", False)
    page = (await client.get(path, params={"limit": 3})).json()
    rest = (await client.get(path, params={"after": page["data"][-1]["id"]})).json()
    assert (page["data"] + rest["data"], page["has_more"]) == (listed["data"], True)
    wrong = await client.get(path, params={"after": "event-1"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "after")


async def test_the_checkpoint_is_the_revision_with_its_losses(
    population: Population, client: httpx.AsyncClient
) -> None:
    made = (await create(client)).json()
    path = f"{JOBS}/{made['id']}/checkpoints"
    assert (await client.get(path)).json()["data"] == []
    ended = await worked_on(population, "ada")

    listed = (await client.get(path)).json()

    [checkpoint] = [FineTuningJobCheckpoint.model_validate(one, strict=True) for one in listed["data"]]
    assert checkpoint.fine_tuned_model_checkpoint == f"ada@{ended.candidate}"
    assert (checkpoint.fine_tuning_job_id, checkpoint.step_number) == (made["id"], 3)
    assert (checkpoint.metrics.train_loss, checkpoint.metrics.full_valid_loss) == (0.5, 0.6)
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (checkpoint.id,) * 2 + (False,)
    assert (await client.get(path, params={"after": checkpoint.id})).json()["data"] == []
    assert (await client.get(path, params={"after": "other"})).status_code == 400


async def test_a_job_is_cancelled_once_and_never_paused(client: httpx.AsyncClient) -> None:
    path = f"{JOBS}/{(await create(client)).json()['id']}"

    for verb in ("pause", "resume"):
        refused = await client.post(f"{path}/{verb}")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "job_id")
    cancelled = FineTuningJob.model_validate((await client.post(f"{path}/cancel")).json(), strict=True)
    again = await client.post(f"{path}/cancel")

    assert (cancelled.status, cancelled.error) == ("cancelled", None)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "job_ended")
    assert (await client.get(f"{path}/events")).json()["data"][0]["level"] == "warn"


async def test_jobs_are_listed_in_pages_and_by_their_metadata(
    population: Population, client: httpx.AsyncClient
) -> None:
    await client.post("/v1/personal-models/ada/jobs", json={})
    await population.directory.jobs.cancel(ModelId("acme", "ada"))
    ids: list[str] = []
    for number in range(3):
        made = await create(client, model="base", metadata={"number": str(number), "all": "x"})
        ids.append(made.json()["id"])

    listed = (await client.get(JOBS)).json()
    assert sorted(job["id"] for job in listed["data"]) == sorted(ids), "a training on the log is none of them"
    page = (await client.get(JOBS, params={"limit": 2})).json()
    rest = (await client.get(JOBS, params={"after": page["data"][-1]["id"]})).json()
    assert (page["data"] + rest["data"], page["has_more"], rest["has_more"]) == (listed["data"], True, False)
    for wanted, count in (
        ({"metadata[number]": "1"}, 1),
        ({"metadata[all]": "x"}, 3),
        ({"metadata[no]": "x"}, 0),
    ):
        assert len((await client.get(JOBS, params=wanted)).json()["data"]) == count
    assert (await client.get(JOBS, params={"after": "ftjob-x-1"})).json()["error"]["param"] == "after"


async def test_a_preference_job_has_the_beta_of_dpo(
    population: Population, client: httpx.AsyncClient
) -> None:
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.5, "n_epochs": "auto"}}}

    made = await create(client, training_file=await upload(client, PAIRS), method=method)

    job = FineTuningJob.model_validate(made.json(), strict=True)
    assert job.method is not None
    assert job.method.dpo is not None
    assert job.method.dpo.hyperparameters is not None
    assert job.method.dpo.hyperparameters.beta == 0.5
    [open_job] = await population.directory.jobs.open_jobs()
    assert (open_job.job.options.method, open_job.job.options.beta) == ("preference", 0.5)


async def test_a_reinforcement_job_has_its_lines_as_graded_tasks(
    population: Population, client: httpx.AsyncClient
) -> None:
    hyperparameters = {"compute_multiplier": 2, "eval_interval": "auto", "reasoning_effort": "default"}
    section = {"grader": CHECK, "hyperparameters": hyperparameters}
    method = {"type": "reinforcement", "reinforcement": section}

    made = await create(client, training_file=await upload(client, TASKS), method=method)

    job = FineTuningJob.model_validate(made.json(), strict=True)
    assert job.method is not None
    assert job.method.reinforcement is not None
    assert job.method.reinforcement.grader.model_dump() == CHECK
    [open_job] = await population.directory.jobs.open_jobs()
    options = open_job.job.options
    assert (options.method, options.reward, options.replies) == ("rl", "grader", 16)
    task = (await population.directory.jobs.tasks(ModelId("acme", "ada"), 0))[-1]
    assert (task.prompt[0].content, task.known["item"]) == ("Hello?", {"answer": "Hi."})
    assert task.known["grader"]["reference"] == "{{item.answer}}"


SIMILAR = {**CHECK, "type": "text_similarity", "operation": None, "evaluation_metric": "rouge_l"}


def rl(**fields: Any) -> dict[str, Any]:
    return {"type": "reinforcement", "reinforcement": {"grader": {**CHECK, **fields}}}


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"model": "base", "suffix": "Our Style"}, "suffix"),
        ({"model": "base", "suffix": "population"}, "suffix"),
        ({"suffix": "style"}, "suffix"),
        ({"model": "ada:peek"}, "model"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
        ({"colour": "red"}, "colour"),
        ({"seed": -1}, "seed"),
        ({"training_file": "file-0"}, "training_file"),
        ({"validation_file": "file-0"}, "validation_file"),
        ({"method": {"type": "osmosis"}}, "method.type"),
        ({"method": {"type": "dpo", "supervised": {}}}, "method.supervised"),
        ({"method": {"type": "reinforcement"}}, "method.reinforcement.grader"),
        ({"method": {"type": "dpo"}, "hyperparameters": {"n_epochs": 1}}, "hyperparameters"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"learning_rate_multiplier": 0}}, "hyperparameters.learning_rate_multiplier"),
        ({"method": rl(type="python", source="def grade(): ...")}, "method.reinforcement.grader.type"),
        ({"method": rl(operation="gt")}, "method.reinforcement.grader.operation"),
        ({"method": rl(evaluation_metric="bleu")}, "method.reinforcement.grader.evaluation_metric"),
        (
            {"method": rl(**{**SIMILAR, "evaluation_metric": "cosine"})},
            "method.reinforcement.grader.evaluation_metric",
        ),
        ({"method": rl(reference="{{item.none}}")}, "training_file"),
        ({"method": rl(reference="x" * 10_001)}, "method.reinforcement.grader.reference"),
        ({"method": rl(name="x" * 257)}, "method.reinforcement.grader.name"),
        ({"method": rl(), "validation_file": "file-0"}, "validation_file"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_name_and_nothing_is_made(
    population: Population, client: httpx.AsyncClient, body: dict[str, Any], parameter: str
) -> None:
    lines = TASKS if body.get("method", {}).get("type") == "reinforcement" else CHATS
    reply = await create(client, **{"training_file": await upload(client, lines), **body})

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, parameter)
    assert (await client.get(JOBS)).json()["data"] == []
    assert [model["id"] for model in (await client.get("/v1/personal-models")).json()["data"]] == ["ada"]


async def test_epochs_of_too_many_steps_are_refused(client: httpx.AsyncClient) -> None:
    hyperparameters = {"n_epochs": 10_000, "batch_size": 1}
    supervised = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    reinforcement = rl()
    reinforcement["reinforcement"]["hyperparameters"] = hyperparameters

    for lines, method, steps in ((CHATS, supervised, "110,000"), (TASKS, reinforcement, "170,000")):
        file_id = await upload(client, [*lines, lines[0]])
        reply = await create(client, training_file=file_id, method=method)
        error = reply.json()["error"]
        assert (reply.status_code, error["param"]) == (400, "n_epochs")
        assert f"{steps} steps" in error["message"]


async def test_a_wrong_line_of_either_file_is_named_with_its_number(client: httpx.AsyncClient) -> None:
    good, wrong = await upload(client), await upload(client, [*CHATS, "{", *CHATS])

    for files in ({"training_file": wrong}, {"training_file": good, "validation_file": wrong}):
        reply = await create(client, model="base", **files)
        error = reply.json()["error"]
        assert (reply.status_code, error["param"]) == (400, list(files)[-1])
        assert error["message"].startswith("Line 11 of the file: Invalid JSON")


async def test_a_file_for_another_purpose_is_not_learned_from(client: httpx.AsyncClient) -> None:
    reply = await create(client, training_file=await upload(client, purpose="user_data"))

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "training_file")


@pytest.mark.parametrize("suffix", [None, "style"])
async def test_a_retry_is_the_same_job_and_the_same_model(
    client: httpx.AsyncClient, suffix: str | None
) -> None:
    body = {"model": "base", "training_file": await upload(client), "suffix": suffix}
    key = {"Idempotency-Key": "tune-1"}

    first = (await client.post(JOBS, json=body, headers=key)).json()
    again = (await client.post(JOBS, json=body, headers=key)).json()

    assert again == first
    assert len((await client.get("/v1/personal-models")).json()["data"]) == 2
    busy = await create(client, model=first["personal_model"])
    assert (busy.status_code, busy.json()["error"]["code"]) == (409, "training_under_way")


async def test_another_key_trains_nobody_elses_model(client: httpx.AsyncClient) -> None:
    body = {"model": "base", "training_file": await upload(client), "suffix": "style"}
    await client.post(JOBS, json=body, headers={"Idempotency-Key": "tune-1"})

    for told in ({**body, "suffix": "ada"}, body):
        other = await client.post(JOBS, json=told, headers={"Idempotency-Key": "tune-2"})
        assert (other.status_code, other.json()["error"]["code"]) == (409, "model_exists")


async def test_a_job_whose_response_was_lost_keeps_its_model(
    population: Population, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = population.directory.jobs.ask

    async def lost(*told: Any) -> TrainingJob:
        await ask(*told)
        raise HostUnavailable("host-0", "the response was lost")

    body, key = {"model": "base", "training_file": await upload(client)}, {"Idempotency-Key": "tune-1"}
    with monkeypatch.context() as patched:
        patched.setattr(population.directory.jobs, "ask", lost)
        assert (await client.post(JOBS, json=body, headers=key)).status_code == 503

    [kept] = (await client.get(JOBS)).json()["data"]
    assert (await client.post(JOBS, json=body, headers=key)).json() == kept


async def test_a_job_that_python_asked_for_with_a_file_is_one_of_them(client: httpx.AsyncClient) -> None:
    file_id = await upload(client)
    await client.post("/v1/personal-models/ada/jobs", json={"training_file": file_id})

    [job] = (await client.get(JOBS)).json()["data"]

    assert FineTuningJob.model_validate(job, strict=True).training_file == file_id


async def test_another_tenants_jobs_models_and_files_are_not_there(
    population: Population, client: httpx.AsyncClient
) -> None:
    file_id = await upload(client)
    path = f"{JOBS}/{(await create(client, training_file=file_id)).json()['id']}"

    async with population.client("globex") as stranger:
        assert (await stranger.get(JOBS)).json()["data"] == []
        for reply in (
            await stranger.get(path),
            await stranger.get(f"{path}/events"),
            await stranger.get(f"{path}/checkpoints"),
            *[await stranger.post(f"{path}/{verb}") for verb in ("cancel", "pause", "resume")],
            await create(stranger),
        ):
            assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
        other = await create(stranger, model="base", training_file=file_id)
        assert (other.status_code, other.json()["error"]["param"]) == (400, "training_file")
    assert (await client.get(path)).json()["status"] == "queued"


@pytest.mark.parametrize(
    "job_id",
    ["ftjob-ada-9", "ftjob-ada-²", "ftjob-ada", "ada-0", "ftjob--0", "ftjob-", "ftjob-ada-" + "9" * 5000],
)
async def test_what_is_no_job_is_404(client: httpx.AsyncClient, job_id: str) -> None:
    await client.post("/v1/personal-models/ada/jobs", json={})

    reply = await client.get(f"{JOBS}/{job_id}")

    assert reply.status_code == 404
    assert reply.json()["error"]["code"] in ("job_not_found", "model_not_found")


async def test_the_official_client_walks_the_whole_way(population: Population, url: str) -> None:
    async with openai.AsyncOpenAI(
        api_key=population.keys["acme"], base_url=f"{url}/v1", max_retries=0, timeout=HANG_SECONDS
    ) as client:
        content = "\n".join(json.dumps(line) for line in CHATS).encode()
        file = await client.files.create(file=("lines.jsonl", content), purpose="fine-tune")
        job = await client.fine_tuning.jobs.create(
            model="base",
            training_file=file.id,
            suffix="style",
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}}},
        )
        await worked_on(population, "style")
        ended = await client.fine_tuning.jobs.retrieve(job.id)
        events = [event.message async for event in client.fine_tuning.jobs.list_events(job.id, limit=2)]
        [checkpoint] = [one async for one in client.fine_tuning.jobs.checkpoints.list(job.id)]
        listed = [one.id async for one in client.fine_tuning.jobs.list(limit=1)]
        reply = await client.chat.completions.create(
            model=ended.fine_tuned_model or "", messages=[{"role": "user", "content": "hello"}]
        )

    assert (ended.status, checkpoint.fine_tuned_model_checkpoint) == ("succeeded", ended.fine_tuned_model)
    assert (len(events), listed, reply.model) == (7, [job.id], ended.fine_tuned_model)
