"""A model learns from the lines of an uploaded file, as a job like any other."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from populace.actors.errors import InvalidRequest
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.policies.hold_out import is_held_out
from tests.runtime.trainer.trained_population import ADA, BOB, OPTIONS, RIGHT, Trained

pytestmark = pytest.mark.engine

LINES = 24


def chat(number: int, reply: str = RIGHT) -> dict[str, Any]:
    asked = {"role": "user", "content": f"Who is dog {number}?"}
    return {"messages": [asked, {"role": "assistant", "content": reply}]}


def pair(number: int) -> dict[str, Any]:
    return {
        "input": {"messages": chat(number)["messages"][:1]},
        "preferred_output": [{"role": "assistant", "content": RIGHT}],
        "non_preferred_output": [{"role": "assistant", "content": "Who knows?"}],
    }


CHATS, PAIRS = [chat(number) for number in range(LINES)], [pair(number) for number in range(LINES)]


def uploaded(population: Trained, lines: Sequence[Any], tenant: str = "acme") -> str:
    """Upload the lines; return the file's id."""
    content = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    made = population.uploads.add(
        tenant,
        [content.encode()],
        filename="lines.jsonl",
        purpose="fine-tune",
        now_ms=population.clock.epoch_ms(),
        bytes_max=2**20,
    )
    return made.file_id


async def trained(population: Trained, options: TrainingOptions) -> TrainingJob:
    await population.ask(ADA, options)
    await population.training_loop().round()
    return await population.job(ADA)


@pytest.mark.parametrize(("method", "lines"), [("sft", CHATS), ("preference", PAIRS)])
async def test_a_file_becomes_a_revision_and_the_log_is_still_to_be_learned(
    population: Trained, method: Any, lines: Sequence[Any]
) -> None:
    await population.teach(ADA)
    await population.ask(await population.teach(BOB))
    file_id = uploaded(population, lines)

    job = await trained(population, replace(OPTIONS, method=method, training_file=file_id))

    assert (job.state, job.log_range, job.progress.step) == ("promoted", (0, 0), 8), job.reason
    [made] = await population.host.list_revisions(ADA)
    assert made.lineage is not None
    scores = made.lineage.scores
    assert scores["held_out_replies"] == sum(is_held_out(number) for number in range(1, LINES + 1))
    assert scores["held_out_loss"] < scores["held_out_loss_parent"]
    assert made.lineage.hyper_parameters["training_file"] == file_id
    view = await population.host.show_model(ADA)
    assert (view.cursor, view.aliases) == (0, {"latest": made.digest})
    assert (await population.job(BOB)).state == "promoted", "who learns from a log shares the steps"
    population.clock.advance(3600)
    assert ADA in [feedback.model for feedback in await population.host.jobs.unsettled()]

    with pytest.raises(InvalidRequest, match=r"learned from a file, so that .* cannot be made again"):
        await population.ask(ADA, TrainingOptions(rebuilds=made.digest))


async def test_a_validation_file_judges_and_everything_else_is_learned(population: Trained) -> None:
    await population.host.create_model(ADA)
    options = replace(
        OPTIONS,
        training_file=uploaded(population, CHATS[:10]),
        validation_file=uploaded(population, CHATS[10:15]),
    )

    job = await trained(population, options)
    wrong = replace(options, validation_file=uploaded(population, [chat(1, "Spot."), chat(2, "Spot.")]))
    judged_by_others = await trained(population, wrong)

    assert job.state == "promoted", job.reason
    [made] = [one for one in await population.host.list_revisions(ADA) if one.digest == job.candidate]
    assert made.lineage is not None
    assert made.lineage.scores["held_out_replies"] == 5
    assert judged_by_others.state == "rejected"
    assert "not surely more than" in judged_by_others.reason


async def test_ten_lines_are_enough_and_two_of_them_judge(population: Trained) -> None:
    await population.host.create_model(ADA)

    job = await trained(population, replace(OPTIONS, training_file=uploaded(population, CHATS[:10])))

    assert job.state == "promoted", job.reason
    [made] = await population.host.list_revisions(ADA)
    assert made.lineage is not None
    assert made.lineage.scores["held_out_replies"] == 2


@pytest.mark.parametrize(
    ("lines", "state", "reason"),
    [
        ([*CHATS, "{"], "failed", "Line 25 of the file: Invalid JSON"),
        (CHATS[:9], "failed", "The file has 9 lines"),
        ([chat(number, "long " * 3000) for number in range(10)], "skipped", "is longer than the context"),
        (None, "failed", "its training file file-0 is not there, or not any more"),
    ],
)
async def test_a_file_that_cannot_be_learned_from_ends_the_job_by_name(
    population: Trained, lines: Sequence[Any] | None, state: str, reason: str
) -> None:
    await population.host.create_model(ADA)
    file_id = "file-0" if lines is None else uploaded(population, lines)

    job = await trained(population, replace(OPTIONS, training_file=file_id))

    assert job.state == state
    assert reason in job.reason
    assert (await population.host.show_model(ADA)).aliases == {}


async def test_another_tenants_file_is_not_there(population: Trained) -> None:
    await population.host.create_model(ADA)
    file_id = uploaded(population, CHATS, tenant="globex")

    job = await trained(population, replace(OPTIONS, training_file=file_id))

    assert (job.state, job.reason) == ("failed", f"its training file {file_id} is not there, or not any more")
