"""General requests: whether a memory changes replies that have nothing to do with what was told."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scripts.bench.intervals import mean_of, ratio_of
from scripts.bench.recall.asking import Asker, Conversation, alone
from scripts.bench.recall.chatter import Chatted
from scripts.bench.recall.grading import Reply, is_broken_off
from scripts.bench.recall.held_out import Ask
from scripts.bench.recall.tables import Table, row, share_aim, share_row
from scripts.bench.report import Aim

NAME = "general"
MEMORY, IN_CHAT = "memory", "memory, in a chat"
"""How a request is asked, as the tables name it: first of all, or after a chat."""

SAME_MIN, LENGTH_MAX, NATS_MAX = 95.0, 5.0, 0.02


class Compared(NamedTuple):
    """A reply to some messages, and the base's reply to the same messages."""

    messages: Conversation
    base: Reply
    reply: Reply

    @property
    def same(self) -> bool:
        """Whether both replies have the same tokens."""
        return self.base.token_ids == self.reply.token_ids


async def measure_general(
    asker: Asker, people: Sequence[Chatted], asks: Sequence[Ask]
) -> dict[str, list[Compared]]:
    """Ask the base and a person each request, alone and after a chat.

    They are asked one at a time. Sums round differently in batches of another size, and the base in other
    company repeats itself to the token in 85 to 95 % of its replies only; alone it always does.
    """
    asker.progress.begin("General requests", 4 * len(asks))
    compared: dict[str, list[Compared]] = {MEMORY: [], IN_CHAT: []}
    for number, ask in enumerate(asks):
        chatted = people[number % len(people)]
        for of, earlier in ((MEMORY, ()), (IN_CHAT, chatted.conversation)):
            messages = (*earlier, *alone(ask.ask))
            base = await asker.base(messages)
            reply = await chatted.person.ask(ask.ask, earlier)
            compared[of].append(Compared(messages, base, reply))
    return compared


def general_table(compared: Mapping[str, Sequence[Compared]], nats: Mapping[str, Sequence[float]]) -> Table:
    """Return the rows and aims by condition.

    ``nats`` is the base's negative log-likelihood of a reply minus that of its own, in nats per token; it may
    be that of the first replies only.
    """
    table = Table()
    for of in (MEMORY, IN_CHAT):
        if compared.get(of):
            _add(table, of, compared[of], nats.get(of, ()))
    return table


def _add(table: Table, of: str, compared: Sequence[Compared], nats: Sequence[float]) -> None:
    count = len(compared)
    same = [pair.same for pair in compared]
    lengths = [(float(len(pair.reply.token_ids)), float(len(pair.base.token_ids))) for pair in compared]
    broken = [is_broken_off(pair.reply, pair.base) for pair in compared]
    base_broken = [is_broken_off(pair.base, pair.reply) for pair in compared]
    length = ratio_of(lengths)
    table.rows += share_row(NAME, of, "same reply as the base", same)
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
    table.aims += share_aim(f"same reply, {of}", same, SAME_MIN)
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
