"""A population with something on every page of the console, made through the API as people would make it."""

from collections.abc import Sequence
from dataclasses import replace

import httpx
import numpy as np

from populace.actors.training import JobProgress, TrainingJob
from populace.actors.turn import ModelId
from populace.adapters.memory.state import StateFormat
from populace.settings.clock import SystemClock
from tests.actors.trainings import trained
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.scripted_engine import BASE

MODELS = "/v1/personal-models"
SAID: Sequence[tuple[str, tuple[str, ...]]] = (
    (
        "My dog is called Bruno, and he is afraid of thunder.",
        ("Then", " Bruno", " needs", " you", " close", "."),
    ),
    ("We live in Lisbon, near the river.", ("A", " good", " place", " for", " long", " walks", ".")),
    ("What is my dog called?", ("Your", " dog", " is", " called", " Bruno", ".")),
)
MARKUP = (
    "<img src=x onerror=alert(1)> <b>bold</b> & "
    "\u05e9\u05dc\u05d5\u05dd, \u0645\u0631\u062d\u0628\u0627 👩\u200d🚀"
)
"""What must be shown as text: markup, writing from right to left, and an emoji of three code points."""
CURVE = tuple((step, 2.4 / (1 + step / 9) + 0.06 * ((step * 7) % 5)) for step in range(1, 61))


def remember(population: Population) -> None:
    """Have the engine keep a memory from now on, whose states are drawn at random."""
    layout = StateFormat("ab" * 32, layers=12, states=2, rank=4)
    values = np.random.default_rng(7).normal(0, 0.4, layout.shape).astype(np.float32)
    population.engine.base = population.engine.base._replace(memory_module=layout.module)
    population.engine.memory = layout.pack(values)


async def talk(population: Population, client: httpx.AsyncClient, name: str = "ada") -> None:
    """Have a person tell and ask something, judge one reply and correct another."""
    for text, reply in SAID:
        population.engine.reply = reply
        answered = await client.post(
            "/v1/chat/completions", json=chat_body(text, name, conversation="console")
        )
        assert answered.status_code == 200, answered.text
    for position, opinion in (
        (0, {"thumb": "up"}),
        (1, {"correction": "I love Lisbon: start with the Alfama."}),
    ):
        given = await client.post("/v1/feedback", json={"model": name, "position": position, **opinion})
        assert given.status_code == 201, given.text


async def begun(
    population: Population, client: httpx.AsyncClient, name: str = "ada", steps: int = 40
) -> TrainingJob:
    """Ask for a training and have it come as far as ``steps`` of sixty."""
    asked = (await client.post(f"{MODELS}/{name}/jobs", json={})).json()
    job = await population.directory.jobs.start(ModelId("acme", name), asked["number"])
    await report(population, job, steps)
    return job


async def report(population: Population, job: TrainingJob, steps: int) -> None:
    curve = CURVE[:steps]
    told = JobProgress(
        step=steps,
        steps=len(CURVE),
        loss=curve[-1][1],
        plan="It learns 2 corrections and 1 liked reply; 3 held-out replies judge it.",
        tokens=steps * 410,
        seconds=steps * 0.7,
        curve=curve,
    )
    await population.directory.jobs.report(job.model, job.number, told)


async def promoted(population: Population, client: httpx.AsyncClient, seed: str, name: str = "ada") -> str:
    """Have a person trained as a trainer would; answers the digest of what is served then."""
    job = await begun(population, client, name, len(CURVE))
    made = replace(trained(job, seed), base=BASE.fingerprint, created_ms=SystemClock().epoch_ms())
    done = (await population.directory.jobs.of_model(job.model))[0].progress
    await population.directory.jobs.finish(job.model, job.number, made, done)
    return made.digest


async def share(client: httpx.AsyncClient, names: Sequence[str], sharing: str = "texts") -> None:
    for name in names:
        told = await client.put(f"{MODELS}/{name}/sharing", json={"sharing": sharing})
        assert told.status_code == 200, told.text
