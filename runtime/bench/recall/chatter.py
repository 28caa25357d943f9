"""People who told a few facts and then chatted about other things."""

import random
from collections.abc import Sequence
from typing import NamedTuple

from populace.bench.recall.asking import Asker, Conversation, alone, side_by_side
from populace.bench.recall.generated import kinds, told_episodes
from populace.bench.recall.held_out import Say
from populace.bench.recall.person import Person, Way
from populace.module_training.episodes import Episode

FACTS = 3

CHAT_TOKENS = 48
"""Of a reply in a chat: twenty turns of them and a last reply fit into a context of 2,048 tokens."""


class Chatted(NamedTuple):
    """A person, and the conversation in which they chatted last. The facts were told in others before."""

    person: Person
    conversation: Conversation


async def hear_base(asker: Asker, chats: Sequence[Sequence[Say]]) -> None:
    """Have the base reply to every turn of the chats, all at once, before ``chat`` says its replies again."""
    says = dict.fromkeys(one.say for says in chats for one in says)
    await side_by_side([asker.base(alone(say), tokens_max=CHAT_TOKENS) for say in says])


async def chat(asker: Asker, person: Person, says: Sequence[Say], *, together: bool) -> Conversation:
    """Chat turn by turn, in one conversation if ``together``; returns the last one.

    The replies are the base's own to each turn alone, said again: chosen anew, two hundred turns of fifteen
    people would take half an hour.
    """
    conversation: Conversation = ()
    for one in says:
        said = await asker.base(alone(one.say), tokens_max=CHAT_TOKENS)
        conversation = await person.tell(one.say, conversation if together else (), said=said)
    return conversation


def drawn_chatter(chatter: Sequence[Say], turns: int, name: str) -> list[Say]:
    """So many turns in an order of the person's own; a chat that is longer than all begins again."""
    source = random.Random(name)  # noqa: S311 - a sample, not a secret
    return [one for _ in range(0, turns, len(chatter)) for one in source.sample(chatter, len(chatter))][
        :turns
    ]


async def chatted_people(
    asker: Asker, way: Way, words: Sequence[str], chatter: Sequence[Say], *, count: int, turns: int, seed: int
) -> list[Chatted]:
    """Have people tell three facts, each in a conversation, and chat for so many turns in another."""
    asker.progress.begin(
        "Three facts, and a chat", count * (FACTS + turns) + min(len(chatter), count * turns)
    )

    async def one(episode: Episode, says: Sequence[Say]) -> Chatted:
        person = Person(asker, way)
        await person.tell_all([said.content for said in episode.messages[::2]])
        return Chatted(person, await chat(asker, person, says, together=True))

    chats = [drawn_chatter(chatter, turns, f"chat {seed} {number}") for number in range(count)]
    await hear_base(asker, chats)
    of_kinds = [told_episodes(words, kind, count, seed) for kind in kinds(FACTS)]
    return await side_by_side(
        [one(of_kinds[number % len(of_kinds)][number], says) for number, says in enumerate(chats)]
    )
