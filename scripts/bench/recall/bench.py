"""The run of ``populace bench recall``: one engine, all sets for each seed, and the report.

What people say goes through the engine turn by turn into a memory state, as with a personal model's log, or
is kept in another way (``person.py``). Whole greedy replies are measured.
"""

import asyncio
import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from examples.memory_module.words import words_of
from populace.actors.engine import OwnedEngine
from populace.actors.errors import MemoryModuleInvalid
from populace.base.files import BaseModelFiles
from populace.base.memory_module import SHIPPED, MemoryModuleFile, find_memory_module
from populace.base.prepare import prepare_base
from populace.engines.vllm_environment import applied
from populace.settings.settings import Settings
from scripts.bench.measured_engine import start_measured
from scripts.bench.recall import general, instructions, long_chat, never_told, tellings, told_facts
from scripts.bench.recall.asking import Asker, Heard, Progress, Report
from scripts.bench.recall.chatter import chatted_people
from scripts.bench.recall.general import Compared, general_table, measure_general
from scripts.bench.recall.held_out import HeldOut, read_held_out, shuffled, tellings_of_seed
from scripts.bench.recall.instructions import Followed, instructions_table, measure_instructions
from scripts.bench.recall.long_chat import Kept, long_chat_table, measure_long_chat, quizzes_of
from scripts.bench.recall.never_told import Untold, measure_never_told, never_told_table
from scripts.bench.recall.person import Way, has_memory
from scripts.bench.recall.tables import COLUMNS, Table, spent_rows
from scripts.bench.recall.tellings import Answered, measure_tellings, tellings_table
from scripts.bench.recall.told_facts import Recalled, measure_told_facts, told_facts_table
from scripts.bench.report import BenchReport

SETS = (general.NAME, told_facts.NAME, tellings.NAME, long_chat.NAME, never_told.NAME, instructions.NAME)
WITH_PEOPLE = {general.NAME, never_told.NAME, instructions.NAME}
"""Sets that share the same few people, who have told three facts and chatted."""

SEQUENCES = 16
REQUESTS_MAX = 2 * SEQUENCES
"""Requests in flight: enough that the engine never waits for one, and too few to fill its queue."""

SCORED_IN_CHAT = 30
"""At most this many replies in chats are scored: each has a chat of ten times its length before it."""


class RecallImpossible(Exception):
    """The bench cannot run; the message says what is missing and how to name it."""


@dataclass(frozen=True, slots=True)
class RecallBench:
    """The sets to measure and their sizes. ``requests`` bounds each set of a seed.

    ``module`` is a memory module, named as for serving; it is loaded only if ``way``, the way in which
    people's models know them, has a memory. Questions in new conversations are written with their replies to
    the file ``replies``, one JSON object per line.
    """

    held_out: Path
    module: str = SHIPPED
    way: Way = "memory"
    sets: tuple[str, ...] = SETS
    seeds: int = 1
    requests: int = 120
    reply_tokens: int = 120
    people: int = 8
    chat_turns: int = 20
    long_chat_turns: int = 200
    replies: Path | None = None

    @property
    def stages(self) -> int:
        """The stages of the progress bar: sets of each seed, the chats before them, and the final scores."""
        with_people = bool(WITH_PEOPLE & set(self.sets))
        return self.seeds * (len(self.sets) + with_people) + (general.NAME in self.sets)


@dataclass(slots=True)
class Measured:
    """The results of all seeds together."""

    general: dict[str, list[Compared]] = field(default_factory=lambda: defaultdict[str, list[Compared]](list))
    told_facts: list[Recalled] = field(default_factory=list[Recalled])
    tellings: list[Answered] = field(default_factory=list[Answered])
    kept: list[Kept] = field(default_factory=list[Kept])
    untold: list[Untold] = field(default_factory=list[Untold])
    followed: list[Followed] = field(default_factory=list[Followed])
    state_bytes: int = 0
    heard: list[Heard] = field(default_factory=list[Heard])


def bench_recall(bench: RecallBench, settings: Settings, report: Report) -> BenchReport:
    """Start an engine, measure every set, and stop the engine, also after an interrupt.

    Raises ``HeldOutInvalid``, ``RecallImpossible``, and the errors of ``prepare_base``.
    """
    held_out = read_held_out(bench.held_out)
    base = prepare_base(settings.base, settings.cache, allow_hub=False)
    module = _module(bench.module, base) if has_memory(bench.way) else None
    progress = Progress(report, bench.stages)
    report("Starting the engine", 0.0)
    with tempfile.TemporaryDirectory(prefix="populace-") as folder, applied({"VLLM_RPC_BASE_PATH": folder}):
        # vLLM's sockets are in the folder, because a process of it that Ctrl-C ends does not remove them.
        measured = asyncio.run(_measured(bench, settings, base, module, held_out, progress))
    if bench.replies is not None:
        lines = [json.dumps(heard._asdict(), ensure_ascii=False) + "\n" for heard in measured.heard]
        bench.replies.write_text("".join(lines), encoding="utf-8")
    nats = _nats(measured.general, base, settings.threads, progress) if measured.general else {}
    return reported(bench, measured, nats, module)


def _module(name: str, base: BaseModelFiles) -> MemoryModuleFile:
    try:
        module = find_memory_module(name, base.fingerprint)
    except MemoryModuleInvalid as error:
        raise RecallImpossible(f"{error} Name one with --memory-module FILE.") from error
    if module is None:
        raise RecallImpossible(
            f"The base {base.name} has no memory without a module. Name one with --memory-module FILE."
        )
    return module


async def _measured(
    bench: RecallBench,
    settings: Settings,
    base: BaseModelFiles,
    module: MemoryModuleFile | None,
    held_out: HeldOut,
    progress: Progress,
) -> Measured:
    words = words_of(base.directory)
    neighbours = None
    if bench.way == "neighbours":
        from scripts.bench.recall.neighbours import NeighbourLanguageModel

        neighbours = NeighbourLanguageModel(base.directory, base.fingerprint, reply_tokens=bench.reply_tokens)
    engine: OwnedEngine = await start_measured(
        settings.engine,
        settings,
        base.directory,
        base.fingerprint,
        None if module is None else module.path,
        context_tokens=min(settings.context_tokens, base.context_tokens),
        sequences_max=SEQUENCES,
    )
    try:
        asker = Asker(
            engine,
            progress,
            reply_tokens=bench.reply_tokens,
            requests_max=REQUESTS_MAX,
            neighbours=neighbours,
        )
        measured = Measured()
        for seed in range(bench.seeds):
            await _measure_seed(bench, asker, words, held_out, seed, measured)
        measured.state_bytes, measured.heard = asker.state_bytes, asker.heard
        return measured
    finally:
        await engine.close()


async def _measure_seed(
    bench: RecallBench, asker: Asker, words: Sequence[str], held_out: HeldOut, seed: int, measured: Measured
) -> None:
    sets, requests, way = set(bench.sets), bench.requests, bench.way
    if sets & WITH_PEOPLE:
        people = await chatted_people(
            asker,
            way,
            words,
            held_out.chatter,
            count=min(bench.people, requests),
            turns=bench.chat_turns,
            seed=seed,
        )
        if general.NAME in sets:
            asks = shuffled(held_out.general, general.NAME)[:requests]
            by_condition = await measure_general(asker, people, asks)
            for of, compared in by_condition.items():
                measured.general[of] += compared
        if never_told.NAME in sets:
            asks = shuffled(held_out.never_told, never_told.NAME)[:requests]
            measured.untold += await measure_never_told(asker, people, asks)
        if instructions.NAME in sets:
            some = shuffled(held_out.instructions, instructions.NAME)[:requests]
            measured.followed += await measure_instructions(asker, people, some)
    if told_facts.NAME in sets:
        measured.told_facts += await measure_told_facts(asker, way, words, requests, seed)
    if tellings.NAME in sets:
        drawn = tellings_of_seed(held_out.tellings, requests, seed)
        measured.tellings += await measure_tellings(asker, way, drawn)
    if long_chat.NAME in sets:
        drawn = tellings_of_seed(held_out.tellings, max(1, requests // 16), seed)
        quizzes = quizzes_of(words, drawn, max(1, requests // 40), seed)
        turns = (bench.chat_turns, bench.long_chat_turns)
        measured.kept += await measure_long_chat(asker, way, quizzes, held_out.chatter, turns, seed)


def _nats(
    compared: Mapping[str, Sequence[Compared]], base: BaseModelFiles, threads: int, progress: Progress
) -> dict[str, list[float]]:
    """Return how much less likely the base finds each reply than its own, in nats per token, by condition."""
    from populace.engines.prompts import BaseTokenizer
    from scripts.bench.recall.reply_scores import SaidReply, nats_a_token

    kept = {
        of: list(some[:SCORED_IN_CHAT] if of == general.IN_CHAT else some) for of, some in compared.items()
    }
    # Equal replies need no scores.
    different = [pair for some in kept.values() for pair in some if not pair.same]
    tokenizer = BaseTokenizer(base.directory)
    replies = [
        SaidReply(tuple(tokenizer.tokens_of(pair.messages).ids), reply.token_ids)
        for pair in different
        for reply in (pair.reply, pair.base)
    ]
    tokenizer.close()
    progress.begin("Scoring replies with the base", len(replies))
    scores = nats_a_token(base.directory, base.fingerprint, replies, threads=threads, progress=progress.step)
    differences = iter([reply - own for reply, own in zip(scores[::2], scores[1::2], strict=True)])
    return {of: [0.0 if pair.same else next(differences) for pair in some] for of, some in kept.items()}


def reported(
    bench: RecallBench,
    measured: Measured,
    nats: Mapping[str, Sequence[float]],
    module: MemoryModuleFile | None,
) -> BenchReport:
    """Return the rows, aims and notes of all sets."""
    result = BenchReport("recall", columns=COLUMNS)
    tables: list[Table] = [
        general_table(measured.general, nats),
        told_facts_table(measured.told_facts),
        tellings_table(measured.tellings),
        long_chat_table(measured.kept),
        never_told_table(measured.untold),
        instructions_table(measured.followed),
    ]
    for table in tables:
        result.rows += table.rows
        result.aims += table.aims
    result.rows += spent_rows(measured.state_bytes, [heard.prompt_tokens for heard in measured.heard])
    known_by = bench.way if module is None else f"{bench.way}, module {module.digest[:16]}"
    result.notes += [
        f"known by {known_by}; {bench.seeds} seeds, at most {bench.requests} requests a set",
        f"replies are greedy, of at most {bench.reply_tokens} tokens",
        "low and high: 95 % intervals, Wilson's for shares and else by bootstrap",
    ]
    return result
