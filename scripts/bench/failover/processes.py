"""Each process of a served Populace is killed in turn, while people talk to it over HTTP and send again.

They do as the documents say: each turn has an ``Idempotency-Key``, and what fails or breaks off is sent again
under the same, when ``Retry-After`` says so. Replies are short: what is measured is the way back, not the
engine.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from populace.actors.turn import Interaction, ModelId
from populace.client.chat_request import chat_request
from populace.client.completions import CompletionObject, chat_body, key_header
from populace.client.http_hosts import HttpHosts
from populace.client.http_transport import HttpTransport
from scripts.bench.failover.load import Audit, FailoverLoad, TakeTurn
from scripts.bench.report import Aim, BenchReport, Row, percentile
from scripts.bench.served_populace import PARTS, Part, ServedPopulace, served_populace

BACK_SECONDS_MAX = 10.0
REPLY_TOKENS = 8

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class ProcessBench:
    """``rounds`` of kills of each part, with ``clients`` people who talk, for ``seconds`` before each."""

    rounds: int = 3
    clients: int = 8
    seconds: float = 2.0
    engine: str = "auto"
    parts: Sequence[Part] = PARTS


async def lose_processes(bench: ProcessBench, root: Path, result: BenchReport, report: Report) -> None:
    """Kill the parts, and add rows and aims to ``result``. Raises ``BenchFailed``."""
    report("Starting populace serve", 0.0)
    options, variables = ["--engine", bench.engine], {"POPULACE_HOSTS": "1"}
    with contextlib.ExitStack() as stack:
        context = served_populace(root, options, variables)
        served = await asyncio.to_thread(stack.enter_context, context)
        transport = HttpTransport(served.url, served.key)
        load = FailoverLoad(
            HttpHosts(transport), turns_over(transport), clients=bench.clients, shards=1, hosts=1
        )
        try:
            await load.begin()
            await load.served_again(time.monotonic(), [0])
            for number, part in enumerate(bench.parts):
                report(f"Killing {part.what}", number / len(bench.parts))
                await _lose(bench, part, served, load, result)
            await load.finish()
            report("Reading all logs", 1.0)
            audit = await load.audit()
        finally:
            await transport.close()
    _note(bench, audit, result)


def turns_over(transport: HttpTransport) -> TakeTurn:
    """Return what takes a turn through a gateway, and sends nothing again by itself."""

    async def take(model: ModelId, operation: str) -> Interaction:
        text = f"Please remember {operation} for me."
        # Without a history, or each turn would take longer than the one before.
        request = chat_request(
            model,
            text,
            operation=operation,
            conversation=None,
            max_tokens=REPLY_TOKENS,
            temperature=0,
        )
        completion = await transport.call(
            "POST",
            "/v1/chat/completions",
            CompletionObject,
            json=chat_body(request),
            headers=key_header(operation),
        )
        return completion.interaction(request)

    return take


async def _lose(
    bench: ProcessBench, part: Part, served: ServedPopulace, load: FailoverLoad, result: BenchReport
) -> None:
    again: list[float] = []
    runs: list[float] = []
    errors = load.errors.copy()
    for _ in range(1 if part.ends_all or not part.is_needed else bench.rounds):
        await load.talk_for(bench.seconds)
        process = served.find(part)
        if process is None:
            return
        process.kill()
        lost_s = time.monotonic()
        if part.ends_all:
            returns = asyncio.to_thread(served.start_again)
        elif part.is_needed:
            returns = asyncio.to_thread(served.wait_runs_again, part, process)
        else:
            returns = asyncio.sleep(0)
        returning = asyncio.create_task(_timed(returns, lost_s))
        again += await load.served_again(lost_s, [0])
        runs.append(await returning)
    result.rows.append(_row(part, again, runs, load.errors - errors))
    if part.is_needed and not (part.is_engine or part.ends_all):
        for what, seconds in ("people are served again", again), ("it runs again", runs):
            p99 = round(percentile(seconds, 99), 2)
            name = f"{what} after {part.what} was killed, p99"
            result.aims.append(Aim(name, p99, BACK_SECONDS_MAX, "s", at_most=True))


async def _timed(returns: Awaitable[None], since_s: float) -> float:
    await returns
    return time.monotonic() - since_s


def _row(part: Part, again: list[float], runs: list[float], errors: "Counter[str]") -> Row:
    row: Row = {
        "what": f"{part.what} is killed",
        "count": len(again),
        "p50 s": round(percentile(again, 50), 2),
        "p99 s": round(percentile(again, 99), 2),
        "errors": ", ".join(f"{code} {count}" for code, count in errors.most_common()) or "none",
    }
    return row | {"runs again s": round(max(runs), 2)} if part.is_needed else row


def _note(bench: ProcessBench, audit: Audit, result: BenchReport) -> None:
    result.aims += [
        Aim("acknowledged turns that were lost with processes", audit.lost, 0, "turns", at_most=True),
        Aim(
            "turns that took effect twice after processes were killed",
            audit.doubled,
            0,
            "turns",
            at_most=True,
        ),
    ]
    result.notes.append(
        f"{audit.acknowledged:,} turns of {bench.clients} people were acknowledged over HTTP while processes "
        f"were killed; an engine's successor and a new start of all load the base first"
    )
