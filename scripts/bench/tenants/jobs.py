"""One training of a quiet tenant, alone and behind many long ones of another."""

import asyncio
import time
from typing import Any

from scripts.bench.report import Aim, BenchReport
from scripts.bench.tenants.clients import Tenant

TASKS = [{"prompt": f"What is {number} plus {number}?", "answer": 2 * number} for number in range(16)]
ANOTHER_MAX = 2.0
"""The most that a training may take behind a flood, in times of its own alone."""

ENDED = ("promoted", "rejected", "skipped", "failed", "cancelled")
LOOK_SECONDS = 0.5
ASKED_AT_ONCE = 16
FLOOD_FIRST_SECONDS = 30.0
"""How long the flood has been in training when the quiet tenant asks."""


def job(steps: int) -> dict[str, Any]:
    """Return a request for ``steps`` steps of reward training, which needs no log."""
    sampling = {"replies": 4, "reply_tokens": 16}
    return {"method": "rl", "reward": "number", "tasks": TASKS, "steps": steps, "rank": 4, **sampling}


async def compare_jobs(flooding: Tenant, quiet: Tenant, many: int, result: BenchReport) -> None:
    """Train with nothing else, then behind ``many`` jobs of another tenant, and add what it took."""
    await _train(quiet, "first")  # it loads the base
    alone = await _train(quiet, "alone")
    models = [f"model-{number}" for number in range(many)]
    asking = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(model: str) -> None:
        async with asking:
            await flooding.create(model)
            await flooding.call("POST", f"/v1/personal-models/{model}/jobs", job(1000))

    await asyncio.gather(*map(ask, models))
    await asyncio.sleep(FLOOD_FIRST_SECONDS)
    behind = await _train(quiet, "behind")
    for model in models:
        await flooding.call("DELETE", f"/v1/personal-models/{model}/jobs")
    for beside, seconds in ("nothing else", alone), (f"{many:,} trainings", behind):
        result.rows.append({"beside": beside, "tenant": "quiet", "training s": round(seconds, 1)})
    what = f"time of a training behind {many:,} of another tenant"
    result.aims.append(Aim(what, round(behind / alone, 2), ANOTHER_MAX, "x alone", at_most=True))


async def _train(tenant: Tenant, model: str) -> float:
    await tenant.create(model)
    path, began = f"/v1/personal-models/{model}/jobs", time.monotonic()
    await tenant.call("POST", path, job(2))
    while (await tenant.call("GET", path))["data"][0]["state"] not in ENDED:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_SECONDS)
    return time.monotonic() - began
