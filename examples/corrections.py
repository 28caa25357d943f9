"""Is a corrected reply right from then on: at once, and by the weights alone after a training?

One person corrects a model's answers to 10, 50 and 200 questions about their life, all different and written
by hand (``tests/held_out/corrections.jsonl``). Then the model is asked the same questions again, and each in
nearly the same words (twice) and in quite other words (twice): at once, and after ``train``, as it is served
and by its weights alone. General requests show what that does to all other replies, and questions about what
it was never told how much it makes up in the form of the corrections.

Starts and stops a Populace of its own for each seed:

    python examples/corrections.py
    python examples/corrections.py --corrections 10 --seeds 1 --json corrections.json

All asking is by peeks, which leave no trace in the model. "Broken off" and "length" compare general replies
with the base's; a general reply leaks if it has a corrected value that the base's has not. A reply to what
was never told is a false claim if it states something of the person in a short sentence.
"""

import argparse
import json
import random
import signal
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from claims import is_claim
from remember import NO_CONTEXT, NO_MEMORY, STREAMS, served
from rich.console import Console
from rich.progress import track
from rich.table import Table

import populace
from populace.client.model_handle import ModelHandle
from populace.policies.whole_replies import ends_open
from scripts.bench.intervals import share_of

HELD_OUT = Path(__file__).parent.parent / "tests" / "held_out"
REPLY_TOKENS = 48
GENERAL_TOKENS = 120
KINDS = ("same", "near", "far")

WAYS: Mapping[str, dict[str, Any]] = {
    "as served": {},
    "weights alone": {"memory": NO_MEMORY, "context": NO_CONTEXT},
}


class Fact(NamedTuple):
    """A question, the reply that was wanted, what a right reply contains, other words for the question."""

    ask: str
    correction: str
    value: Sequence[str]
    near: Sequence[str]
    far: Sequence[str]

    def questions(self, kind: str) -> Sequence[str]:
        return [self.ask] if kind == "same" else self.near if kind == "near" else self.far

    def is_in(self, reply: str) -> bool:
        return any(value.lower() in reply.lower() for value in self.value)


class Requests(NamedTuple):
    """What is asked besides what was corrected: general requests, and what was never told."""

    general: Sequence[str]
    untold: Sequence[str]


class Asked(NamedTuple):
    """How one model answered: whether each question of a kind was right, and its replies to others.

    ``general`` are replies to general requests, ``untold`` to questions about what it was never told.
    """

    corrections: int
    way: str
    right: Mapping[str, list[bool]]
    general: list[str]
    tokens: list[int]
    broken: list[bool]
    untold: list[str]


class Measured(NamedTuple):
    """A model's state after its training, and its answers."""

    seed: int
    state: str
    reason: str
    seconds: float
    asked: list[Asked]


def main() -> None:
    options = _options()
    console = Console()
    # SIGTERM stops the server too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    facts = [Fact(**json.loads(line)) for line in _lines("corrections.jsonl")]
    requests = Requests(
        [json.loads(line)["ask"] for line in _lines("general.jsonl")][: options.general],
        [json.loads(line)["ask"] for line in _lines("never_told.jsonl")][: options.untold],
    )
    measured: list[Measured] = []
    for seed in range(options.seeds):
        with (
            tempfile.TemporaryDirectory(prefix="corrections-") as folder,
            served(Path(folder), options),
            populace.connect(data=Path(folder) / "data") as population,
        ):
            stranger = population.create("stranger")
            of_base = _asked(stranger, "base", (), requests, 0)
            for count in options.corrections:
                some = random.Random(f"{count} {seed}").sample(facts, count)
                model = population.create(f"corrected-{count}")
                measured.append(_measured(model, some, requests, of_base, seed, console, options))
    _print_tables(console, measured)
    if options.json is not None:
        rows = [{**one._asdict(), "asked": [asked._asdict() for asked in one.asked]} for one in measured]
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _measured(
    model: ModelHandle,
    facts: Sequence[Fact],
    requests: Requests,
    of_base: Asked,
    seed: int,
    console: Console,
    options: argparse.Namespace,
) -> Measured:
    shown = f"seed {seed}: {len(facts)} replies are corrected"
    for fact in track(facts, shown, console=console, transient=True):
        turn = model.chat(fact.ask, max_tokens=8, conversation=None)
        model.feedback(turn, correction=fact.correction)
    asked = [of_base, _asked(model, "at once", facts[: options.asked], requests, len(facts))]
    with console.status(f"seed {seed}: {len(facts)} corrections are learned"):
        job = model.train()
    console.print(
        f"seed {seed}: {len(facts)} corrections, {job.state} after {job.progress.step} steps "
        f"({job.progress.seconds:.0f} s) {job.reason}",
        highlight=False,
    )
    ways = list(WAYS) if job.state == "promoted" else []
    asked += [_asked(model, way, facts[: options.asked], requests, len(facts)) for way in ways]
    return Measured(seed, job.state, job.reason, job.progress.seconds, asked)


def _asked(
    model: ModelHandle, way: str, facts: Sequence[Fact], requests: Requests, corrections: int
) -> Asked:
    chosen = WAYS.get(way, {})
    asked = [(kind, fact, ask) for kind in KINDS for fact in facts for ask in fact.questions(kind)]
    with ThreadPoolExecutor(STREAMS) as pool:
        say = partial(model.peek, conversation=None, temperature=0.0, **chosen)
        replies = list(pool.map(partial(say, max_tokens=REPLY_TOKENS), [ask for _, _, ask in asked]))
        others = list(pool.map(partial(say, max_tokens=GENERAL_TOKENS), requests.general))
        untold = list(pool.map(partial(say, max_tokens=REPLY_TOKENS), requests.untold))
    right: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for (kind, fact, _), reply in zip(asked, replies, strict=True):
        right[kind].append(fact.is_in(str(reply)))
    return Asked(
        corrections,
        way,
        right,
        [str(reply) for reply in others],
        [reply.completion_tokens for reply in others],
        [reply.finish_reason == "stop" and ends_open(str(reply)) for reply in others],
        [str(reply) for reply in untold],
    )


def _print_tables(console: Console, measured: Sequence[Measured]) -> None:
    facts = [Fact(**json.loads(line)) for line in _lines("corrections.jsonl")]
    replies = Table("corrections", "asked", *(f"{kind} [95 %]" for kind in KINDS))
    general = Table("corrections", "general requests", "length", "broken off", "leaks", "false claims")
    rows = {(one.corrections, one.way): one for run in measured for one in run.asked if one.corrections}
    for count, way in rows:
        found = [
            (one, run.asked[0])
            for run in measured
            for one in run.asked
            if (one.corrections, one.way) == (count, way)
        ]
        hits = {kind: [hit for one, _ in found for hit in one.right[kind]] for kind in KINDS}
        replies.add_row(str(count), way, *(share_of(hits[kind]).percent for kind in KINDS))
        length = sum(sum(one.tokens) for one, _ in found) / sum(sum(base.tokens) for _, base in found)
        leaks = [
            any(fact.is_in(reply) and not fact.is_in(of_base) for fact in facts)
            for one, base in found
            for reply, of_base in zip(one.general, base.general, strict=True)
        ]
        broken = [broken for one, _ in found for broken in one.broken]
        base_broken = sum(broken for _, base in found for broken in base.broken)
        claims = [is_claim(reply) for one, _ in found for reply in one.untold]
        base_claims = sum(is_claim(reply) for _, base in found for reply in base.untold)
        general.add_row(
            str(count),
            way,
            f"{length:.2f} x the base's",
            f"{sum(broken)} of {len(broken)}, base {base_broken}",
            f"{sum(leaks)} of {len(leaks)}",
            f"{sum(claims)} of {len(claims)}, base {base_claims}",
        )
    console.print(replies)
    console.print(general)


def _lines(name: str) -> list[str]:
    return (HELD_OUT / name).read_text(encoding="utf-8").splitlines()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Is a corrected reply right from then on?")
    parser.add_argument("--corrections", type=int, nargs="+", default=[10, 50, 200], help="in one model")
    parser.add_argument("--asked", type=int, default=50, help="of how many of them it is asked, at most")
    parser.add_argument("--general", type=int, default=48, help="general requests")
    parser.add_argument("--untold", type=int, default=80, help="questions about what was never told")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--engine", default="auto", choices=("auto", "vllm", "torch"))
    parser.add_argument("--memory-module", default="shipped", help="a file, or the module that is shipped")
    parser.add_argument("--json", type=Path, help="write every grade to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
