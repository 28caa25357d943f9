"""General requests: what a memory does to replies that have nothing to do with what was told."""

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
"""Another batch rounds otherwise: how often the base repeats itself is what a memory can reach."""

SAME_MIN, LENGTH_MAX, NATS_MAX = 95.0, 5.0, 0.02

ROUNDING_NATS = 0.25
"""Two tokens whose probabilities are as close may change places by rounding: bfloat16 has steps of an eighth
where the logits of likely tokens are, and a batch of another size sums in another order."""


class Compared(NamedTuple):
    """A reply to some messages, beside that of the base to the same ones."""

    messages: Conversation
    base: Reply
    reply: Reply

    @property
    def same(self) -> bool:
        return self.base.token_ids == self.reply.token_ids

    @property
    def parting(self) -> int | None:
        """The first place at which both say another token; None if one of them ends before."""
        pairs = zip(self.base.token_ids, self.reply.token_ids, strict=False)
        return next((place for place, (one, other) in enumerate(pairs) if one != other), None)


class Cost(NamedTuple):
    """What a reply costs the base above its own, in nats a token.

    ``parting`` is what the one token costs by which it parts from it; infinite if it parts by its end.
    """

    nats: float = 0.0
    parting: float = 0.0


async def measure_general(
    asker: Asker, people: Sequence[Chatted], asks: Sequence[Ask], *, again: bool
) -> dict[str, list[Compared]]:
    """Ask the base and people in turn, alone and at the end of their chats; the base ``again`` if wanted."""
    asker.progress.begin("General requests", (5 if again else 4) * len(asks))
    turns = [(one, people[number % len(people)]) for number, one in enumerate(asks)]

    async def base_again(ask: Ask) -> Compared:
        messages = alone(ask.ask)
        base = await asker.base(messages)
        return Compared(messages, base, (await asker.reply(messages, None))[0])

    async def memory(ask: Ask, chatted: Chatted, earlier: Conversation) -> Compared:
        messages = (*earlier, *alone(ask.ask))
        base = await asker.base(messages)
        return Compared(messages, base, await chatted.person.ask(ask.ask, earlier))

    found = {MEMORY: await side_by_side([memory(ask, chatted, ()) for ask, chatted in turns])}
    if again:
        found[AGAIN] = await side_by_side([base_again(ask) for ask in asks])
    found[IN_CHAT] = await side_by_side(
        [memory(ask, chatted, chatted.conversation) for ask, chatted in turns]
    )
    return found


def general_table(compared: Mapping[str, Sequence[Compared]], costs: Mapping[str, Sequence[Cost]]) -> Table:
    """Rows and aims. There may be fewer ``costs`` than replies: those of the first so many."""
    table = Table()
    for of in (AGAIN, MEMORY, IN_CHAT):
        if compared.get(of):
            _add(table, of, compared[of], costs.get(of, ()))
    return table


def _add(table: Table, of: str, compared: Sequence[Compared], costs: Sequence[Cost]) -> None:
    count = len(compared)
    same = [one.same for one in compared]
    lengths = [(float(len(one.reply.token_ids)), float(len(one.base.token_ids))) for one in compared]
    broken = [is_broken_off(one.reply, one.base) for one in compared]
    base_broken = [is_broken_off(one.base, one.reply) for one in compared]
    length = ratio_of(lengths)
    nats, near = [one.nats for one in costs], [one.parting < ROUNDING_NATS for one in costs]
    table.rows += share_row(NAME, of, "same reply as the base", same)
    table.rows += share_row(NAME, of, "the same up to rounding", near)
    table.rows += [
        row(NAME, of, "tokens a reply", mean_of([ours for ours, _ in lengths]), "tokens", count),
        row(NAME, of, "tokens a reply of the base", mean_of([base for _, base in lengths]), "tokens", count),
        row(NAME, of, "length", length, "x the base's", count, digits=3),
    ]
    table.rows += share_row(NAME, of, "broken off, the base's not", broken)
    table.rows += share_row(NAME, of, "not broken off, the base's is", base_broken)
    if nats:
        table.rows.append(
            row(NAME, of, "above the base's own reply", mean_of(nats), "nats a token", len(nats), digits=4)
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
            Aim(f"above the base's own reply, {of}", mean, NATS_MAX, "nats a token", at_most=True)
        )
