"""A month in an hour: does a model get better by itself while its person only talks?

One invented person talks for thirty days (``tests/held_out/month.jsonl``, written by hand) and never says
what to think of a reply. Each day they tell something new, ask for some of what they told on other days, and
talk about other things. Some facts change, and so does their taste in tea. The nights are long enough that
the trainer takes the model up by itself. After every third day the model is asked for everything that was
told so far, in words that were never used before, once near to those that were and once far from them:

* as served: with its memory, its weights, and what is looked up in the log;
* by its weights alone;
* with everything off, which is the base.

Starts and stops a Populace of its own:

    python examples/month.py
    python examples/month.py --days 12 --json month.json --svg month.svg

A reply is out of date if it has a value that no longer holds and not the one that does. A false claim is a
wrong reply that says something of the person as if it were known ("Your best friend is called ..."), which is
worse than not to know; the table counts those of all three ways. General requests show what the month does to
all other replies. All asking is by peeks, which leave no trace in the model.
"""

import argparse
import json
import signal
import tempfile
import time
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
from populace.pictures.curves import curves_picture
from populace.policies.whole_replies import ends_open
from scripts.bench.intervals import share_of

HELD_OUT = Path(__file__).parent.parent / "tests" / "held_out"
TALK_TOKENS = 60
REPLY_TOKENS = 48
GENERAL_TOKENS = 120
ASKED_A_DAY = 4
CHATTER_A_DAY = 3
MEASURED_EVERY = 3

WAYS: Mapping[str, dict[str, Any]] = {
    "as served": {},
    "weights alone": {"memory": NO_MEMORY, "context": NO_CONTEXT},
    "everything off": {"memory": NO_MEMORY, "context": NO_CONTEXT, "alias": "base"},
}


class Change(NamedTuple):
    """What the person says on a day, and what a right reply contains from then on."""

    day: int
    say: str
    value: Sequence[str]


class Fact(NamedTuple):
    """Something of the person's life: when it was said and changed, and the questions for it.

    ``asks`` are asked in the course of the month, ``measured`` only to measure: a near and a far one.
    """

    told: Sequence[Change]
    asks: Sequence[str]
    measured: Sequence[str]

    @classmethod
    def of(cls, line: dict[str, Any]) -> "Fact":
        told = [Change(line["day"], line["say"], line["value"])]
        told += [Change(**change) for change in line.get("changes", ())]
        return cls(told, line["asks"], line["measured"])

    def known_on(self, day: int) -> Sequence[Change]:
        """What was said until the end of the day, the newest last."""
        return [change for change in self.told if change.day <= day]


class Day(NamedTuple):
    """What was measured after a day, of one way of serving; ``right`` has two grades for each fact."""

    day: int
    way: str
    revision: str
    asked: Sequence[str]
    replies: Sequence[str]
    right: Sequence[bool]
    outdated: Sequence[bool]
    general: Sequence[str]
    tokens: Sequence[int]
    broken: Sequence[bool]


def main() -> None:
    options = _options()
    console = Console()
    # SIGTERM stops the server too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    facts = [Fact.of(json.loads(line)) for line in _lines("month.jsonl")]
    chatter = [json.loads(line)["say"] for line in _lines("chatter.jsonl")]
    general = [json.loads(line)["ask"] for line in _lines("general.jsonl")][: options.general]
    measured: list[Day] = []
    with (
        tempfile.TemporaryDirectory(prefix="month-") as folder,
        served(Path(folder), options, training="auto"),
        populace.connect(data=Path(folder) / "data") as population,
    ):
        model = population.create("otti")
        for day in track(range(1, options.days + 1), "a month", console=console, transient=True):
            _talk(model, day, _said_on(facts, chatter, day))
            _sleep(model, options.night)
            if day % MEASURED_EVERY == 0 or day == options.days:
                measured += [_measure(model, day, way, facts, general) for way in WAYS]
                _print_day(console, measured[-len(WAYS) :], model)
                _keep(options.json, measured)
    _print_tables(console, measured)
    if options.svg is not None:
        options.svg.write_text(_picture(measured), encoding="utf-8")


def _keep(path: Path | None, measured: Sequence[Day]) -> None:
    """Write what was measured so far, so that a run that ends early leaves its days."""
    if path is not None:
        rows = [one._asdict() for one in measured]
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _said_on(facts: Sequence[Fact], chatter: Sequence[str], day: int) -> list[str]:
    """What the person says on a day: news, questions for what was told before, and other things."""
    news = [change.say for fact in facts for change in fact.told if change.day == day]
    known = [fact for fact in facts if fact.known_on(day - 1)]
    # In turn, so that each fact is asked for about as often, each time in the next of its phrasings.
    asked = [(day * ASKED_A_DAY + number) for number in range(min(ASKED_A_DAY, len(known)))]
    questions = [
        known[at % len(known)].asks[at // len(known) % len(known[at % len(known)].asks)] for at in asked
    ]
    others = [chatter[(day * CHATTER_A_DAY + number) % len(chatter)] for number in range(CHATTER_A_DAY)]
    return [*others[:1], *news, *others[1:2], *questions, *others[2:]]


def _talk(model: ModelHandle, day: int, says: Sequence[str]) -> None:
    for say in says:
        model.chat(say, conversation=f"day {day}", max_tokens=TALK_TOKENS)


def _sleep(model: ModelHandle, seconds: float) -> None:
    """Wait for the night to pass, and until no training is open."""
    time.sleep(seconds)
    while any(job.is_open for job in model.jobs()):
        time.sleep(1)


def _measure(model: ModelHandle, day: int, way: str, facts: Sequence[Fact], general: Sequence[str]) -> Day:
    known = [(fact.known_on(day), ask) for fact in facts if fact.known_on(day) for ask in fact.measured]
    say = partial(model.peek, conversation=None, temperature=0.0, **WAYS[way])
    with ThreadPoolExecutor(STREAMS) as pool:
        replies = list(pool.map(partial(say, max_tokens=REPLY_TOKENS), [ask for _, ask in known]))
        others = list(pool.map(partial(say, max_tokens=GENERAL_TOKENS), general))
    right = [_says(reply, told[-1]) for (told, _), reply in zip(known, replies, strict=True)]
    return Day(
        day,
        way,
        replies[0].revision,
        [ask for _, ask in known],
        [str(reply) for reply in replies],
        right,
        [
            not is_right and any(_says(reply, old) for old in told[:-1])
            for (told, _), reply, is_right in zip(known, replies, right, strict=True)
        ],
        [str(reply) for reply in others],
        [reply.completion_tokens for reply in others],
        [reply.finish_reason == "stop" and ends_open(str(reply)) for reply in others],
    )


def _says(reply: object, change: Change) -> bool:
    return any(value.lower() in str(reply).lower() for value in change.value)


def _claims(day: Day) -> int:
    """Count the wrong replies that state something of the person in a short sentence."""
    return sum(
        not is_right and is_claim(reply) for reply, is_right in zip(day.replies, day.right, strict=True)
    )


def _print_day(console: Console, days: Sequence[Day], model: ModelHandle) -> None:
    found = ", ".join(f"{one.way} {_percent(one.right)}" for one in days)
    jobs = model.jobs()
    trained = f"{sum(job.state == 'promoted' for job in jobs)} of {len(jobs)} trainings promoted"
    console.print(f"day {days[0].day}: {found}; {trained}", highlight=False)


def _print_tables(console: Console, measured: Sequence[Day]) -> None:
    recall = Table("day", *(f"{way} [95 %]" for way in WAYS), "near", "far", "out of date", "false claims")
    harm = Table("day", "way", "length", "broken off", "as the base's")
    for day in dict.fromkeys(one.day for one in measured):
        ways = {one.way: one for one in measured if one.day == day}
        as_served, base = ways["as served"], ways["everything off"]
        recall.add_row(
            str(day),
            *(share_of(one.right).percent for one in ways.values()),
            _percent(as_served.right[::2]),
            _percent(as_served.right[1::2]),
            f"{sum(as_served.outdated)}",
            ", ".join(f"{_claims(one)}" for one in ways.values()),
        )
        for way in ("as served", "weights alone"):
            one = ways[way]
            same = sum(a == b for a, b in zip(one.general, base.general, strict=True))
            harm.add_row(
                str(day),
                way,
                f"{sum(one.tokens) / sum(base.tokens):.2f} x the base's",
                f"{sum(one.broken)} of {len(one.broken)}, base {sum(base.broken)}",
                f"{same} of {len(one.general)}",
            )
    console.print(recall)
    console.print(harm)


def _picture(measured: Sequence[Day]) -> str:
    days = list(dict.fromkeys(one.day for one in measured))
    curves = {way: [_mean(one.right) for one in measured if one.way == way] for way in WAYS}
    curves["out of date, as served"] = [_mean(one.outdated) for one in measured if one.way == "as served"]
    places = {str(day): float(day) for day in days}
    title = "Share of what was told so far that is said when asked in new words"
    return curves_picture(title, curves, across="day", places=places)


def _mean(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits)


def _percent(hits: Sequence[bool]) -> str:
    return f"{100 * _mean(hits):.0f} %"


def _lines(name: str) -> list[str]:
    return (HELD_OUT / name).read_text(encoding="utf-8").splitlines()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Does a model get better while its person only talks?")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument(
        "--night", type=float, default=80, help="seconds; the trainer waits for 60 of silence"
    )
    parser.add_argument("--general", type=int, default=24, help="general requests")
    parser.add_argument("--engine", default="auto", choices=("auto", "vllm", "torch"))
    parser.add_argument("--memory-module", default="shipped", help="a file, or the module that is shipped")
    parser.add_argument("--json", type=Path, help="write every grade to this file")
    parser.add_argument("--svg", type=Path, help="draw the days into this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
