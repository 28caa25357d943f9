"""Questions about what was never told, whose replies should say so."""

from collections.abc import Sequence
from typing import NamedTuple

from scripts.bench.recall.asking import Asker, alone, side_by_side
from scripts.bench.recall.chatter import Chatted
from scripts.bench.recall.grading import admits
from scripts.bench.recall.held_out import Ask
from scripts.bench.recall.tables import Table, share_aim, share_row

NAME = "never-told"
ADMITTED_MIN = 80.0


class Untold(NamedTuple):
    """Whether the replies with a memory of other facts and of the base admit that they were not told."""

    memory: bool
    base: bool


async def measure_never_told(asker: Asker, people: Sequence[Chatted], asks: Sequence[Ask]) -> list[Untold]:
    """Ask the base and one of the people, in turn, each question."""
    asker.progress.begin("What was never told", 2 * len(asks))

    async def untold(ask: Ask, chatted: Chatted) -> Untold:
        base = await asker.base(alone(ask.ask))
        return Untold(admits((await chatted.person.ask(ask.ask)).text), admits(base.text))

    return await side_by_side([untold(ask, people[number % len(people)]) for number, ask in enumerate(asks)])


def never_told_table(untold: Sequence[Untold]) -> Table:
    """Return the shares of replies that admit it."""
    memory = [result.memory for result in untold]
    rows = share_row(NAME, "memory", "admitted", memory)
    rows += share_row(NAME, "base", "admitted", [result.base for result in untold])
    return Table(rows, share_aim("never told, admitted", memory, ADMITTED_MIN))
