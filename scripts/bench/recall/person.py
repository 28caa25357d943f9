"""A simulated person, and the ways in which their model can know what they said."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from populace.actors.context import with_context
from populace.actors.engine import Message
from populace.actors.errors import PromptTooLong
from populace.actors.keepers.log_index import LogIndex
from populace.actors.memory import BOTH, Memory, MemoryChoice
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
from scripts.bench.recall.asking import Asker, Conversation, alone
from scripts.bench.recall.grading import Reply

if TYPE_CHECKING:
    from scripts.bench.recall.neighbours import KeptTokens

READ_ONLY = MemoryChoice(read=True, write=False)

Way = Literal[
    "memory",
    "nothing",
    "history",
    "retrieval",
    "notes",
    "neighbours",
    "memory and retrieval",
    "memory and history",
]
"""The source of what a model knows: the memory state; nothing; the newest turns that fit into the prompt; the
turns that match the question best, by BM25 as in serving; notes that the base took of each turn; or the
hidden states that the base had at the person's own tokens, those nearest to the reply's.
"""

WAYS: tuple[Way, ...] = get_args(Way)

RETRIEVED = 3

REPLY_SHARE = 4
"""The question and the reply get 1 / ``REPLY_SHARE`` of the context's tokens."""

SHARES = (1.0, 0.5, 0.25)
"""Shares of the tokens for what is known that are tried in turn, until the prompt fits."""

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
    """Return whether the way uses a memory module."""
    return way.startswith("memory")


class Turn(NamedTuple):
    """A person's message and the reply to it."""

    said: str
    answered: str

    @property
    def messages(self) -> Conversation:
        """The turn as two messages."""
        return (Message("user", self.said), Message("assistant", self.answered))


class Person:
    """A person whose turns go into a memory as a model's log does, and are kept for the other ways."""

    def __init__(self, asker: Asker, way: Way = "memory") -> None:
        self._asker = asker
        self._way: Way = way
        self._memory = Memory()
        self._log: list[Turn] = []
        self._index = LogIndex()
        self._notes: list[str] = []
        self._kept: list[KeptTokens] = []

    async def tell(
        self, text: str, earlier: Conversation = (), *, forced: Reply | None = None
    ) -> Conversation:
        """Send a message in a turn that reads and writes the memory; return the conversation with the reply.

        If ``forced`` is given, the engine reads that reply and generates none.
        """
        messages = (*earlier, Message("user", text))
        if has_memory(self._way):
            use = self._memory.use(BOTH, messages, earlier=0)
            reply, state = await self._asker.reply(messages, use, forced=forced)
            self._memory = self._memory.after(messages, reply.text, state)
        else:
            reply = forced or await self._asker.base(messages)
        if self._way == "notes":
            noted = await self._asker.base((*NOTING, *alone(text)), tokens_max=NOTE_TOKENS)
            note = noted.text.strip()
            if not note.startswith("NOTHING"):
                self._notes.append(note)
        if self._way == "neighbours":
            self._kept.append(await self._asker.neighbours.kept(text))
        self._log.append(Turn(text, reply.text))
        return (*messages, Message("assistant", reply.text))

    async def tell_all(self, texts: Sequence[str], *, together: bool = False) -> None:
        """Send each text in a conversation of its own, or all ``together`` in one."""
        conversation: Conversation = ()
        for text in texts:
            conversation = await self.tell(text, conversation if together else ())

    async def ask(self, text: str, earlier: Conversation = ()) -> Reply:
        """Ask a question that is not written or logged, in a new conversation or after ``earlier``."""
        messages = (*earlier, Message("user", text))
        if self._way == "neighbours":
            return await self._asker.reply_by_neighbours(messages, self._kept, is_question=not earlier)
        use = self._memory.use(READ_ONLY, messages, earlier=0) if has_memory(self._way) else None
        for share in SHARES:
            try:
                prompt = self._prompt(messages, share)
                reply, _ = await self._asker.reply(prompt, use, is_question=not earlier)
            except PromptTooLong:  # the number of tokens was an estimate
                continue
            return reply
        reply, _ = await self._asker.reply(messages, use, is_question=not earlier)
        return reply

    def _prompt(self, messages: Conversation, share: float) -> Conversation:
        """Return the messages with what the way adds, which gets a ``share`` of its usual tokens."""
        match self._way:
            case "memory" | "nothing" | "neighbours":
                return messages
            case "history" | "memory and history":
                return (*self._history(messages, share), *messages)
            case "retrieval" | "memory and retrieval":
                return with_context(messages, self._retrieved(messages, share))
            case "notes":
                return (*self._noted(share), *messages)

    def _history(self, messages: Conversation, share: float) -> list[Message]:
        """Return the newest turns that fit, without those of the conversation itself."""
        own = {message.content for message in messages}
        turns = [turn for turn in self._log if turn.said not in own]
        lengths = [len(turn.said) + len(turn.answered) for turn in turns]
        asked = sum(len(message.content) for message in messages)
        room = self._asker.context_tokens * (1 - 1 / REPLY_SHARE) - asked / CHARACTERS_PER_TOKEN
        fitting = turns_that_fit(lengths, int(share * room))
        return [message for turn in turns[len(turns) - fitting :] for message in turn.messages]

    def _retrieved(self, messages: Conversation, share: float) -> list[Exchange]:
        """Return the turns of the log that match the question, chosen as in serving."""
        wanted = Retrieval.of(messages, RETRIEVED)
        if wanted is None:
            return []
        turns = [turn.messages[:1] for turn in self._log]
        words = [
            (place, turn_words(turns[place], self._log[place].answered, Judgement()))
            for place in range(self._index.end, len(turns))
        ]
        self._index = self._index.extended(words, start=0, end=len(turns)).counted()
        ranked = [
            exchange
            for place in self._index.ranked(wanted.about)
            if (exchange := exchange_of(place, turns[place], self._log[place].answered, Judgement()))
        ]
        tokens_max = int(share * self._asker.context_tokens / CONTEXT_SHARE)
        return exchanges_that_fit(ranked, turns_in(messages), count=RETRIEVED, tokens_max=tokens_max)

    def _noted(self, share: float) -> Conversation:
        """Return the newest notes that fit, oldest first."""
        tokens_max = int(share * self._asker.context_tokens / CONTEXT_SHARE)
        fitting = turns_that_fit([len(note) for note in self._notes], tokens_max)
        notes = self._notes[len(self._notes) - fitting :]
        if not notes:
            return ()
        return (Message("system", "\n".join([NOTES_HEADING, *(f"- {note}" for note in notes)])),)
