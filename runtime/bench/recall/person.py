"""Somebody the bench plays, and the ways in which what they said can be known later."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from populace.actors.context import with_context
from populace.actors.engine import Message
from populace.actors.errors import PromptTooLong
from populace.actors.keepers.log_index import LogIndex
from populace.actors.memory import BOTH, Memory, MemoryChoice
from populace.bench.recall.asking import Asker, Conversation, alone
from populace.bench.recall.grading import Reply
from populace.policies.history import CHARACTERS_PER_TOKEN, turns_that_fit
from populace.policies.ingestion import turns_in
from populace.policies.lessons import Judgement
from populace.policies.retrieval import (
    CONTEXT_SHARE,
    Exchange,
    Retrieval,
    exchange_of,
    exchanges_that_fit,
    turn_words,
)

READ_ONLY = MemoryChoice(read=True, write=False)

Way = Literal[
    "memory", "nothing", "history", "retrieval", "notes", "memory and retrieval", "memory and history"
]
"""Of knowing what a person said: from the memory's state; not at all; because the prompt has all that was
said, as far as it fits; because it has the turns that fit the question best, by BM25 as in serving; because
it has what the base noted of each turn."""

WAYS: tuple[Way, ...] = get_args(Way)

RETRIEVED = 3

REPLY_SHARE = 4
"""One in so many of the context's tokens is kept for the question and the reply."""

SHARES = (1.0, 0.5, 0.25)
"""Of the tokens that what is known may have, tried in turn until the prompt fits."""

NOTE_TOKENS = 24
NOTING = (
    Message(
        "system", "Write down what the message says about its author, in one short sentence, or NOTHING."
    ),
    Message("user", "Hi! I'm Tom, and I've been living in Oslo since May."),
    Message("assistant", "The author is called Tom and lives in Oslo."),
    Message("user", "How do I boil an egg?"),
    Message("assistant", "NOTHING"),
    Message("user", "My sister Eve can't stand olives, by the way. What should I cook for her?"),
    Message("assistant", "The author's sister is called Eve and does not like olives."),
)
NOTES_HEADING = "What you know about the user:"


def has_memory(way: Way) -> bool:
    return way.startswith("memory")


class Turn(NamedTuple):
    said: str
    answered: str

    @property
    def messages(self) -> Conversation:
        return (Message("user", self.said), Message("assistant", self.answered))


class Person:
    """Somebody whose turns are folded into a memory as a model's own log is, and kept for other ways."""

    def __init__(self, asker: Asker, way: Way = "memory") -> None:
        self._asker = asker
        self._way: Way = way
        self._memory = Memory()
        self._log: list[Turn] = []
        self._index = LogIndex()
        self._notes: list[str] = []

    async def tell(self, text: str, earlier: Conversation = (), *, said: Reply | None = None) -> Conversation:
        """Say something in a turn that reads and writes; returns the conversation with the reply.

        With ``said`` the reply is not chosen but said again, which takes no longer than reading it.
        """
        messages = (*earlier, Message("user", text))
        if has_memory(self._way):
            use = self._memory.use(BOTH, messages, earlier=0)
            reply, state = await self._asker.reply(messages, use, said=said)
            self._memory = self._memory.after(messages, reply.text, state)
        else:
            reply = said or await self._asker.base(messages)
        if self._way == "notes":
            noted = await self._asker.base((*NOTING, *alone(text)), tokens_max=NOTE_TOKENS)
            note = noted.text.strip()
            if not note.startswith("NOTHING"):
                self._notes.append(note)
        self._log.append(Turn(text, reply.text))
        return (*messages, Message("assistant", reply.text))

    async def tell_all(self, texts: Sequence[str], *, together: bool = False) -> None:
        """Say one thing after the other, each in a conversation of its own or all ``together`` in one."""
        conversation: Conversation = ()
        for text in texts:
            conversation = await self.tell(text, conversation if together else ())

    async def ask(self, text: str, earlier: Conversation = ()) -> Reply:
        """Ask something that leaves no trace, in a new conversation unless there is an ``earlier`` one."""
        messages = (*earlier, Message("user", text))
        use = self._memory.use(READ_ONLY, messages, earlier=0) if has_memory(self._way) else None
        for share in SHARES:
            try:
                prompt = self._prompt(messages, share)
                reply, _ = await self._asker.reply(prompt, use, is_question=not earlier)
            except PromptTooLong:  # what fits is an estimate
                continue
            return reply
        reply, _ = await self._asker.reply(messages, use, is_question=not earlier)
        return reply

    def _prompt(self, messages: Conversation, share: float) -> Conversation:
        """What is asked, with what the way tells besides, in a ``share`` of the tokens that it may have."""
        match self._way:
            case "memory" | "nothing":
                return messages
            case "history" | "memory and history":
                return (*self._history(messages, share), *messages)
            case "retrieval" | "memory and retrieval":
                return with_context(messages, self._retrieved(messages, share))
            case "notes":
                return (*self._noted(share), *messages)

    def _history(self, messages: Conversation, share: float) -> list[Message]:
        """The newest turns that fit, without those of the conversation itself."""
        own = {message.content for message in messages}
        turns = [turn for turn in self._log if turn.said not in own]
        lengths = [len(turn.said) + len(turn.answered) for turn in turns]
        asked = sum(len(message.content) for message in messages)
        room = self._asker.context_tokens * (1 - 1 / REPLY_SHARE) - asked / CHARACTERS_PER_TOKEN
        fitting = turns_that_fit(lengths, int(share * room))
        return [message for turn in turns[len(turns) - fitting :] for message in turn.messages]

    def _retrieved(self, messages: Conversation, share: float) -> list[Exchange]:
        """The turns of the log that fit the question, found and chosen as in serving."""
        wanted = Retrieval.of(messages, RETRIEVED)
        if wanted is None:
            return []
        turns = [turn.messages[:1] for turn in self._log]
        words = [
            (place, turn_words(turns[place], self._log[place].answered, Judgement()))
            for place in range(self._index.end, len(turns))
        ]
        self._index = self._index.extended(words, start=0, end=len(turns)).counted()
        found = [
            exchange
            for place in self._index.ranked(wanted.words)
            if (exchange := exchange_of(place, turns[place], self._log[place].answered, Judgement()))
        ]
        tokens_max = int(share * self._asker.context_tokens / CONTEXT_SHARE)
        return exchanges_that_fit(found, turns_in(messages), count=RETRIEVED, tokens_max=tokens_max)

    def _noted(self, share: float) -> Conversation:
        """The newest notes that fit, in the order in which they were made."""
        tokens_max = int(share * self._asker.context_tokens / CONTEXT_SHARE)
        fitting = turns_that_fit([len(one) for one in self._notes], tokens_max)
        notes = self._notes[len(self._notes) - fitting :]
        if not notes:
            return ()
        return (Message("system", "\n".join([NOTES_HEADING, *(f"- {note}" for note in notes)])),)
