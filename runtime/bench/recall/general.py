"""General requests: whether a memory changes replies that have nothing to do with what was told."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from populace.bench.intervals import mean_of, ratio_of
from populace.bench.recall.asking import Asker, Conversation, alone, side_by_side
from populace.bench.recall.chatter import Chatted
from populace.bench.recall.grading import Reply, is_broken_off
from populace.bench.recall.held_out import Ask
from populace.bench.recall.tables import Table, row, share_aim, share_row
from populace.bench.report import Aim

NAME = "general"
AGAIN, MEMORY, IN_CHAT = "base, asked again", "memory", "memory, in a chat"
"""The conditions. Sums round differently in another batch, so the base repeats itself imperfectly."""

SAME_MIN, LENGTH_MAX, NATS_MAX = 95.0, 5.0, 0.02

ROUNDING_NATS = 0.25
"""Rounding may swap two tokens whose log-probabilities differ by less than this.

In bfloat16, logits of likely tokens have steps of an eighth, and a batch of another size sums in another
order.
"""


class Compared(NamedTuple):
    """A reply to some messages, and the base's reply to the same messages."""

    messages: Conversation
    base: Reply
    reply: Reply

    @property
    def same(self) -> bool:
        """Whether both replies have the same tokens."""
        return self.base.token_ids == self.reply.token_ids

    @property
    def parting(self) -> int | None:
        """The index of the first token that differs; None if one reply is the beginning of the other."""
        pairs = zip(self.base.token_ids, self.reply.token_ids, strict=False)
        return next((place for place, (base, reply) in enumerate(pairs) if base != reply), None)


class Cost(NamedTuple):
    """The base's negative log-likelihood of a reply minus that of its own reply, in nats per token.

    ``parting`` is the same difference for the first token that differs alone. It is infinite if there is none
    because one reply ends earlier.
    """

    nats: float = 0.0
    parting: float = 0.0


async def measure_general(
    asker: Asker, people: Sequence[Chatted], asks: Sequence[Ask], *, again: bool
) -> dict[str, list[Compared]]:
    """Ask the base and a person each request, alone and after a chat; ``again`` asks the base twice."""
    asker.progress.begin("General requests", (5 if again else 4) * len(asks))
    turns = [(ask, people[number % len(people)]) for number, ask in enumerate(asks)]

    async def base_again(ask: Ask) -> Compared:
        messages = alone(ask.ask)
        base = await asker.base(messages)
        return Compared(messages, base, (await asker.reply(messages, None))[0])

    async def memory(ask: Ask, chatted: Chatted, earlier: Conversation) -> Compared:
        messages = (*earlier, *alone(ask.ask))
        base = await asker.base(messages)
        return Compared(messages, base, await chatted.person.ask(ask.ask, earlier))

    by_condition = {MEMORY: await side_by_side([memory(ask, chatted, ()) for ask, chatted in turns])}
    if again:
        by_condition[AGAIN] = await side_by_side([base_again(ask) for ask in asks])
    by_condition[IN_CHAT] = await side_by_side(
        [memory(ask, chatted, chatted.conversation) for ask, chatted in turns]
    )
    return by_condition


def general_table(compared: Mapping[str, Sequence[Compared]], costs: Mapping[str, Sequence[Cost]]) -> Table:
    """Return the rows and aims by condition; ``costs`` may be those of the first replies only."""
    table = Table()
    for of in (AGAIN, MEMORY, IN_CHAT):
        if compared.get(of):
            _add(table, of, compared[of], costs.get(of, ()))
    return table


def _add(table: Table, of: str, compared: Sequence[Compared], costs: Sequence[Cost]) -> None:
    count = len(compared)
    same = [pair.same for pair in compared]
    lengths = [(float(len(pair.reply.token_ids)), float(len(pair.base.token_ids))) for pair in compared]
    broken = [is_broken_off(pair.reply, pair.base) for pair in compared]
    base_broken = [is_broken_off(pair.base, pair.reply) for pair in compared]
    length = ratio_of(lengths)
    nats, near = [cost.nats for cost in costs], [cost.parting < ROUNDING_NATS for cost in costs]
    table.rows += share_row(NAME, of, "same reply as the base", same)
    table.rows += share_row(NAME, of, "the same up to rounding", near)
    table.rows += [
        row(NAME, of, "tokens per reply", mean_of([reply for reply, _ in lengths]), "tokens", count),
        row(
            NAME, of, "tokens per reply of the base", mean_of([base for _, base in lengths]), "tokens", count
        ),
        row(NAME, of, "length", length, "x the base's", count, digits=3),
    ]
    table.rows += share_row(NAME, of, "broken off, the base's not", broken)
    table.rows += share_row(NAME, of, "not broken off, the base's is", base_broken)
    if nats:
        table.rows.append(
            row(NAME, of, "above the base's own reply", mean_of(nats), "nats per token", len(nats), digits=4)
        )
    if of == AGAIN:
        return
    table.aims += share_aim(f"same reply, {of}", same, SAME_MIN)
    table.aims += share_aim(f"same reply up to rounding, {of}", near, SAME_MIN)
    table.aims += share_aim(
        f"broken off, {of}", broken, round(100 * sum(base_broken) / count, 1), at_most=True
    )
    off = round(100 * abs(length.value - 1), 1)
    table.aims.append(Aim(f"length off the base's, {of}", off, LENGTH_MAX, "%", at_most=True))
    if nats:
        mean = round(sum(nats) / len(nats), 4)
        table.aims.append(
            Aim(f"above the base's own reply, {of}", mean, NATS_MAX, "nats per token", at_most=True)
        )
