"""The whole of ``populace bench recall``: one engine, all sets for each seed, and a report.

Everybody in it is a memory state, or known in another way (``person.py``). What they say goes through the
engine turn by turn and is folded as a personal model's log is; what is measured are whole replies, greedily.
"""

import asyncio
import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from populace.actors.engine import OwnedEngine
from populace.actors.errors import MemoryModuleInvalid
from populace.base.files import BaseModelFiles
from populace.base.memory_module import SHIPPED, MemoryModuleFile, find_memory_module
from populace.base.prepare import prepare_base
from populace.bench.measured_engine import start_measured
from populace.bench.recall import general, instructions, long_chat, never_told, tellings, told_facts
from populace.bench.recall.asking import Asker, Heard, Progress, Report
from populace.bench.recall.chatter import chatted_people
from populace.bench.recall.general import Compared, Cost, general_table, measure_general
from populace.bench.recall.held_out import HeldOut, read_held_out, shuffled, tellings_of_seed
from populace.bench.recall.instructions import Followed, instructions_table, measure_instructions
from populace.bench.recall.long_chat import Kept, long_chat_table, measure_long_chat, quizzes_of
from populace.bench.recall.never_told import Untold, measure_never_told, never_told_table
from populace.bench.recall.person import Way, has_memory
from populace.bench.recall.tables import COLUMNS, Table, spent_rows
from populace.bench.recall.tellings import Answered, measure_tellings, tellings_table
from populace.bench.recall.told_facts import Recalled, measure_told_facts, told_facts_table
from populace.bench.report import BenchReport
from populace.engines.vllm_environment import applied
from populace.module_training.words import words_of
from populace.settings.settings import Settings

SETS = (general.NAME, told_facts.NAME, tellings.NAME, long_chat.NAME, never_told.NAME, instructions.NAME)
WITH_PEOPLE = {general.NAME, never_told.NAME, instructions.NAME}
"""Sets that ask the same few people, who told three facts and chatted."""

SEQUENCES = 16
REQUESTS_MAX = 2 * SEQUENCES
"""At once: the engine never waits for the next one, and its queue is never full."""

SCORED_IN_CHAT = 30
"""A reply at the end of a chat is scored with the chat before it, ten times its length."""


class RecallImpossible(Exception):
    """What the bench lacks, as a sentence for the person who started it."""


@dataclass(frozen=True, slots=True)
class RecallBench:
    """What to measure. ``requests`` bounds each set of a seed; ``module`` is named as for serving.

    ``way`` is what people's models know them by: with one that has no memory, no module is loaded. Every
    question in a new conversation and its reply go into the file ``replies``, one JSON object a line.
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
        """Stages of the progress bar: each set of each seed, people who chat, and the scores in the end."""
        with_people = bool(WITH_PEOPLE & set(self.sets))
        return self.seeds * (len(self.sets) + with_people) + (general.NAME in self.sets)


@dataclass(slots=True)
class Measured:
    """What all seeds gave together."""

    general: dict[str, list[Compared]] = field(default_factory=lambda: defaultdict[str, list[Compared]](list))
    told_facts: list[Recalled] = field(default_factory=list[Recalled])
    tellings: list[Answered] = field(default_factory=list[Answered])
    kept: list[Kept] = field(default_factory=list[Kept])
    untold: list[Untold] = field(default_factory=list[Untold])
    followed: list[Followed] = field(default_factory=list[Followed])
    state_bytes: int = 0
    heard: list[Heard] = field(default_factory=list[Heard])


def bench_recall(bench: RecallBench, settings: Settings, report: Report) -> BenchReport:
    """Measure every set. Starts the engine, and stops it also when it is interrupted.

    Raises ``HeldOutInvalid``, ``RecallImpossible``, and what preparing the base and finding its module raise.
    """
    held_out = read_held_out(bench.held_out)
    base = prepare_base(settings.base, settings.cache, allow_hub=False)
    module = _module(bench.module, base) if has_memory(bench.way) else None
    progress = Progress(report, bench.stages)
    report("Starting the engine", 0.0)
    with tempfile.TemporaryDirectory(prefix="populace-") as folder, applied({"VLLM_RPC_BASE_PATH": folder}):
        # vLLM's sockets lie there: one of its processes that Ctrl-C ends leaves them behind.
        measured = asyncio.run(_measured(bench, settings, base, module, held_out, progress))
    if bench.replies is not None:
        lines = [json.dumps(one._asdict(), ensure_ascii=False) + "\n" for one in measured.heard]
        bench.replies.write_text("".join(lines), encoding="utf-8")
    costs = _costs(measured.general, base, settings.threads, progress) if measured.general else {}
    return reported(bench, measured, costs, module)


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
        asker = Asker(engine, progress, reply_tokens=bench.reply_tokens, requests_max=REQUESTS_MAX)
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
            found = await measure_general(asker, people, asks, again=seed == 0)
            for of, compared in found.items():
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


def _costs(
    compared: Mapping[str, Sequence[Compared]], base: BaseModelFiles, threads: int, progress: Progress
) -> dict[str, list[Cost]]:
    """What each reply costs the base above its own one."""
    from populace.bench.recall.reply_scores import SaidReply, nats_a_token
    from populace.engines.prompts import BaseTokenizer

    tokenizer = BaseTokenizer(base.directory)

    def said(one: Compared) -> Iterator[SaidReply]:
        prompt = tuple(tokenizer.tokens_of(one.messages).ids)
        ours, own = one.reply.token_ids, one.base.token_ids
        yield SaidReply(prompt, ours)
        yield SaidReply(prompt, own)
        place = one.parting
        if place is not None:
            yield SaidReply((*prompt, *own[:place]), ours[place : place + 1])
            yield SaidReply((*prompt, *own[:place]), own[place : place + 1])

    kept = {
        of: list(some[:SCORED_IN_CHAT] if of == general.IN_CHAT else some) for of, some in compared.items()
    }
    # The same reply costs the same.
    other = [one for some in kept.values() for one in some if not one.same]
    replies = [reply for one in other for reply in said(one)]
    tokenizer.close()
    progress.begin("What the replies cost the base", len(replies))
    scores = nats_a_token(base.directory, base.fingerprint, replies, threads=threads, progress=progress.step)
    differences = iter([reply - own for reply, own in zip(scores[::2], scores[1::2], strict=True)])

    def cost(one: Compared) -> Cost:
        if one.same:
            return Cost()
        return Cost(next(differences), math.inf if one.parting is None else next(differences))

    return {of: [cost(one) for one in some] for of, some in kept.items()}


def reported(
    bench: RecallBench,
    measured: Measured,
    costs: Mapping[str, Sequence[Cost]],
    module: MemoryModuleFile | None,
) -> BenchReport:
    """All rows, aims and notes."""
    result = BenchReport("recall", columns=COLUMNS)
    tables: list[Table] = [
        general_table(measured.general, costs),
        told_facts_table(measured.told_facts),
        tellings_table(measured.tellings),
        long_chat_table(measured.kept),
        never_told_table(measured.untold),
        instructions_table(measured.followed),
    ]
    for table in tables:
        result.rows += table.rows
        result.aims += table.aims
    result.rows += spent_rows(measured.state_bytes, [one.prompt_tokens for one in measured.heard])
    known_by = bench.way if module is None else f"{bench.way}, module {module.digest[:16]}"
    result.notes += [
        f"known by {known_by}; {bench.seeds} seeds, at most {bench.requests} requests a set",
        f"replies are greedy, of at most {bench.reply_tokens} tokens",
        "low and high: 95 %, Wilson's for shares and else by bootstrap",
    ]
    return result
