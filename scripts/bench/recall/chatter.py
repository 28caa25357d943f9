"""People who told a few facts and then chatted about other things."""

import random
from collections.abc import Sequence
from typing import NamedTuple

from examples.memory_module.episodes import Episode
from scripts.bench.recall.asking import Asker, Conversation, alone, side_by_side
from scripts.bench.recall.generated import kinds, told_episodes
from scripts.bench.recall.held_out import Say
from scripts.bench.recall.person import Person, Way

FACTS = 3

CHAT_TOKENS = 48
"""Longest reply in a chat: twenty turns and a last reply then fit into a context of 2,048 tokens."""


class Chatted(NamedTuple):
    """A person who told facts in earlier conversations, and the conversation of their latest chat."""

    person: Person
    conversation: Conversation


async def hear_base(asker: Asker, chats: Sequence[Sequence[Say]]) -> None:
    """Have the base reply to the turns of all chats concurrently, which caches replies for ``chat``."""
    says = dict.fromkeys(turn.say for turns in chats for turn in turns)
    await side_by_side([asker.base(alone(say), tokens_max=CHAT_TOKENS) for say in says])


async def chat(asker: Asker, person: Person, says: Sequence[Say], *, together: bool) -> Conversation:
    """Chat turn by turn, in one conversation if ``together``; return the last conversation.

    The replies are the base's own to each turn alone, which the engine only reads: generating them in two
    hundred turns of fifteen people would take half an hour.
    """
    conversation: Conversation = ()
    for turn in says:
        reply = await asker.base(alone(turn.say), tokens_max=CHAT_TOKENS)
        conversation = await person.tell(turn.say, conversation if together else (), forced=reply)
    return conversation


def drawn_chatter(chatter: Sequence[Say], turns: int, name: str) -> list[Say]:
    """Draw ``turns`` turns in an order that depends on ``name``, all of them before any repeats."""
    source = random.Random(name)  # noqa: S311 - a sample, not a secret
    rounds = range(0, turns, len(chatter))
    return [turn for _ in rounds for turn in source.sample(chatter, len(chatter))][:turns]


async def chatted_people(
    asker: Asker, way: Way, words: Sequence[str], chatter: Sequence[Say], *, count: int, turns: int, seed: int
) -> list[Chatted]:
    """Have ``count`` people tell three facts in separate conversations, and then chat in another."""
    asker.progress.begin(
        "Three facts, and a chat", count * (FACTS + turns) + min(len(chatter), count * turns)
    )

    async def chatted(episode: Episode, says: Sequence[Say]) -> Chatted:
        person = Person(asker, way)
        await person.tell_all([said.content for said in episode.messages[::2]])
        return Chatted(person, await chat(asker, person, says, together=True))

    chats = [drawn_chatter(chatter, turns, f"chat {seed} {number}") for number in range(count)]
    await hear_base(asker, chats)
    of_kinds = [told_episodes(words, kind, count, seed) for kind in kinds(FACTS)]
    return await side_by_side(
        [chatted(of_kinds[number % len(of_kinds)][number], says) for number, says in enumerate(chats)]
    )
