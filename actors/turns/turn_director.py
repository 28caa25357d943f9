"""Directs one turn from grant to log, in a gateway that streams or in a host that does not.

The turn's message is durable before anything is generated: who leaves, or gets an error, has said it all the
same. Only a request that is refused before the first delta takes its message back. The last delta is held
back until the reply is durable too, so that no client sees a finished one that a crash could lose.
"""

import asyncio
import hashlib
import itertools
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple, Protocol

from populace.actors.context import context_digest, with_context
from populace.actors.engine import BaseInfo, Delta, Engine, GenerateRequest, MemoryUse, Message
from populace.actors.errors import InvalidRequest, PromptTooLong, Refused, TurnExpired
from populace.actors.memory import Memory, MemoryChoice, MemoryOutcome, MemoryTrace
from populace.actors.owner import Owner
from populace.actors.tool_calls import TOOL_ROLE
from populace.actors.turn import ChatRequest, Interaction, Reply, TurnGrant, TurnRequest
from populace.actors.turns.choices import generate_choices
from populace.actors.turns.deadlines import until
from populace.actors.turns.running_reply import RunningReply, no_deltas
from populace.actors.turns.told_replies import told_reply
from populace.policies.history import (
    CHARACTERS_PER_TOKEN,
    newest_exchanges,
    turns_that_fit,
    with_history,
    with_their_calls,
)
from populace.policies.ingestion import turns_in, without_turns
from populace.policies.retrieval import CONTEXT_SHARE, Exchange, exchanges_that_fit
from populace.storage.records.errors import PopulaceError


class TurnMemory:
    """The memory in one turn. ``messages`` are its prompt; the log has the first ``earlier`` of them.

    ``module`` is the digest of the memory module that the engine serves.
    """

    def __init__(
        self,
        memory: Memory,
        choice: MemoryChoice,
        messages: tuple[Message, ...],
        earlier: int,
        module: str,
    ) -> None:
        self._memory = memory
        self._choice = choice
        self._module = module
        self.use: MemoryUse | None = memory.use(choice, messages, earlier=earlier)

    def outcome(
        self, own: Sequence[Message], text: str, token_ids: Sequence[int], state: bytes | None
    ) -> MemoryOutcome:
        """Return what to store after the reply to the turn's ``own`` messages, which left ``state``.

        The digest of a turn that did not write is kept too: the turn must not be written later, when its
        client sends the conversation again.
        """
        written_from = None if self.use is None else self.use.new_from
        trace = MemoryTrace(
            read=self._choice.read,
            written_from=written_from,
            reply_ids=() if written_from is None else tuple(token_ids),
            module=self._module,
        )
        return MemoryOutcome(self._memory.after(own, text, state).pack(), trace)


logger = logging.getLogger(__name__)

HISTORY_SHARE = 2
"""One in this many of the context's tokens may be of earlier turns, by estimate."""

REPLY_SHARE = 4
"""If a conversation has to be shortened, one in this many of the context's tokens is left for a reply whose
length the request does not limit."""

FILLED = 0.95
"""A conversation is shortened to this part of its room, since its tokens are not alike in length."""

COMMIT_SECONDS_MARGIN = 5.0
"""Generation stops this long before the turn's deadline, so that the commit still finds it running."""


class TurnHost(Protocol):
    """The part of ``Hosts`` that a turn needs."""

    async def begin_turn(self, request: TurnRequest) -> TurnGrant | Interaction: ...

    async def accept_turn(self, grant: TurnGrant, message: Reply) -> TurnGrant: ...

    async def finish_turn(self, grant: TurnGrant, reply: Reply) -> Interaction: ...

    async def abandon_turn(self, grant: TurnGrant, reason: str, *, refused: bool = False) -> None: ...


def completion_id(grant: TurnGrant) -> str:
    """Derive the completion id from the operation: the same operation has the same id, also after a crash."""
    parts = (grant.model.tenant, grant.model.name, grant.operation)
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return f"chatcmpl-{digest.hexdigest()}"


async def begin_reply(
    hosts: TurnHost, engine: Engine, request: ChatRequest, *, stream: bool = False
) -> RunningReply:
    """Begin one turn and return its reply, which has deltas as they come with ``stream``, and else none.

    The reply of an operation that took effect before has its interaction at once and no deltas. A reply that
    is closed early, or fails, leaves a turn without a reply. A request that keeps none of its choices records
    nothing, and its reply has no interaction.
    """
    turn = await hosts.begin_turn(request.turn)
    if isinstance(turn, Interaction):
        return RunningReply(no_deltas(), interaction=turn)
    return DirectedReply(hosts, engine, request, turn, stream=stream)


class DirectedReply(RunningReply):
    """The reply of a turn that was granted."""

    def __init__(
        self, hosts: TurnHost, engine: Engine, request: ChatRequest, grant: TurnGrant, *, stream: bool
    ) -> None:
        super().__init__(
            self._generate_and_commit(engine, request, grant, stream=stream),
            grant=grant,
            left_out=lambda: 0 if self._reply is None else self._reply.left_out,
        )
        self._reply: ReplyBuilder | None = None
        self._hosts = hosts
        self._grant = grant
        self._refused = False
        self._settled = False

    async def aclose(self) -> None:
        try:
            await super().aclose()
        finally:
            if not self._settled:
                self._settled = True
                # Shielded: the caller may be cancelled, and the model must not stay taken until the deadline.
                await asyncio.shield(_abandon(self._hosts, self._grant, refused=self._refused))

    async def _generate_and_commit(
        self, engine: Engine, request: ChatRequest, grant: TurnGrant, *, stream: bool
    ) -> AsyncGenerator[Delta, None]:
        granted = as_granted(request, grant, engine.base)
        last: list[Delta] = []
        reply = self._reply = ReplyBuilder(granted, completion_id(grant))
        if request.kept is not None:
            grant = self._grant = await self._hosts.accept_turn(grant, reply.message())
        is_begun = grant.goes_on
        async with aclosing(generate_reply(engine, granted, grant, reply, stream=stream)) as deltas:
            try:
                async for delta in deltas:
                    is_begun = True
                    if delta.finish_reason is not None:
                        last.append(delta)
                    elif stream:
                        yield delta
            except (InvalidRequest, Refused):
                self._refused = not is_begun and request.kept is not None
                raise
        assert len(last) == request.choices * max(1, len(request.prompts)), (
            "an engine ends a reply with a finish reason"
        )
        if request.kept is not None:
            self.interaction = await self._hosts.finish_turn(grant, reply.finish())
            self._settled = True
        if stream:
            for delta in last:
                yield delta


class Granted(NamedTuple):
    """A request with the turns of the log that its grant adds to it.

    Those of ``history`` come before its messages; ``brought`` messages of other turns are among these.
    """

    request: ChatRequest
    history: tuple[tuple[Message, ...], ...] = ()
    brought: int = 0


def as_granted(request: ChatRequest, grant: TurnGrant, base: BaseInfo) -> Granted:
    """Add the turns that the grant brought, as far as they fit, and remove those that were forgotten.

    A newest turn of the history that is too long for its share, such as a chat that a client sent whole,
    is brought too, so that what fits of it is read. A request that is to be read whole has all of them.

    Raises ``InvalidRequest`` if nothing is left.
    """
    if request.raw_prompts:
        return Granted(request)
    share = CHARACTERS_PER_TOKEN * (base.context_tokens // HISTORY_SHARE)
    history, brought = grant.history, [message for turn in grant.brought for message in turn]
    if history and not request.whole and sum(len(message.content) for message in history[-1]) > share:
        # A system message would outlive the turn that it was said in, which may be forgotten.
        newest = [message for message in history[-1] if message.role != "system"]
        if len(newest_exchanges(newest, share)) < len(newest):
            history, brought = (), newest
    if brought:
        brought = brought if request.whole else newest_exchanges(brought, share)
        messages = with_history([brought], request.messages, request.instructions)
        request = replace(request, messages=tuple(messages))
    return Granted(without_forgotten(request, grant.forgotten), history, len(brought))


def without_forgotten(request: ChatRequest, forgotten: frozenset[bytes]) -> ChatRequest:
    """Remove forgotten turns from the client's messages: they are not read, written or logged.

    Raises ``InvalidRequest`` if nothing is left, or results of tools alone.
    """
    kept = without_turns(request.messages, forgotten)
    if len(kept) == len(request.messages):
        return request
    if all(request.messages[index].role in ("system", TOOL_ROLE) for index in kept):
        raise InvalidRequest("These messages are a turn that was forgotten, and nothing else.", "messages")
    return replace(request, messages=tuple(request.messages[index] for index in kept))


class ReplyBuilder:
    """Collects deltas into the reply that is committed."""

    def __init__(self, granted: Granted, completion_id: str) -> None:
        self._request = granted.request
        self._brought = granted.brought
        self.messages = granted.request.messages
        """Those that the model reads, and the log has."""
        self._completion_id = completion_id
        self._texts: list[str] = []
        self._token_ids: list[int] = []
        self._last: Delta | None = None
        self.history_turns = 0
        self.exchanges: list[Exchange] = []
        self.memory: TurnMemory | None = None

    def add(self, delta: Delta) -> None:
        self._texts.append(delta.text)
        self._token_ids += delta.token_ids
        self._last = delta

    @property
    def left_out(self) -> int:
        """How many messages of the caller's own the model does not read; those that were brought go first."""
        return max(0, len(self._request.messages) - len(self.messages) - self._brought)

    @property
    def retrieved(self) -> tuple[int, ...]:
        """The positions of the turns that the reply is told from, in the order of its prompt."""
        return tuple(exchange.position for exchange in self.exchanges)

    def message(self) -> Reply:
        """What is committed before the reply is made."""
        return Reply(
            messages=self.messages,
            text="",
            finish_reason=None,
            prompt_tokens=0,
            completion_tokens=0,
            completion_id=self._completion_id,
            instructions=self._request.instructions,
            note=self._request.note,
        )

    def finish(self) -> Reply:
        last = self._last
        assert last is not None
        assert last.finish_reason is not None
        text = "".join(self._texts)
        return Reply(
            messages=self.messages,
            text=text,
            finish_reason=last.finish_reason,
            prompt_tokens=last.prompt_tokens,
            completion_tokens=len(self._token_ids),
            completion_id=self._completion_id,
            history_turns=self.history_turns,
            memory=(
                None
                if self.memory is None
                else self.memory.outcome(self.messages, text, self._token_ids, last.memory)
            ),
            retrieved=self.retrieved,
            context_digest=context_digest(self.exchanges),
            instructions=self._request.instructions,
            note=self._request.note,
        )


class _Shown(NamedTuple):
    """How much of the conversation an attempt shows: turns of the history, retrieved ones, own messages.

    Of one that is ``whole`` nothing but what was retrieved can be left out.
    """

    history_turns: int
    retrieved: int
    messages: tuple[Message, ...]
    whole: bool

    def less(
        self,
        refused: PromptTooLong,
        prompt: Sequence[Message],
        exchanges: int,
        reply_tokens: int | None,
        continuing: Sequence[bool],
    ) -> "_Shown | None":
        """Show less of it, the oldest first; None if nothing can be left out.

        ``prompt`` was refused; ``exchanges`` in it were retrieved. The reply may have ``reply_tokens``.
        ``continuing`` says of each turn of the history, and last of the messages, whether it begins with
        results of tools.
        """
        if refused.is_hopeless:
            return None
        fewer_retrieved = self._replace(retrieved=exchanges // 2) if exchanges else None
        if self.whole:
            return fewer_retrieved
        fewer_turns = with_their_calls(self.history_turns // 2, continuing)
        if fewer_turns < self.history_turns:
            return self._replace(history_turns=fewer_turns, retrieved=exchanges // 2)
        characters = sum(len(message.content) for message in prompt)
        room = refused.context_tokens - (reply_tokens or refused.context_tokens // REPLY_SHARE)
        excess = characters - FILLED * room * characters / refused.prompt_tokens
        spoken = sum(len(message.content) for message in self.messages if message.role != "system")
        fewer = newest_exchanges(self.messages, spoken - max(1, excess))
        if len(fewer) < len(self.messages):
            return self._replace(messages=tuple(fewer))
        return fewer_retrieved


async def generate_reply(
    engine: Engine, granted: Granted, grant: TurnGrant, reply: ReplyBuilder, *, stream: bool
) -> AsyncGenerator[Delta, None]:
    """Generate with as much of the conversation and of the log as fits, until shortly before the deadline."""
    request, history = granted.request, granted.history
    seconds_max = max(grant.turn_seconds_max - COMMIT_SECONDS_MARGIN, grant.turn_seconds_max / 2)
    raw_prompts = request.raw_prompts
    wanted = None if raw_prompts else request.turn.retrieval
    own = request.messages[request.instructions :]
    fitting = len(history) if request.whole else _fitting(history, own, engine.base)
    exchanges_max = 0 if wanted is None else wanted.count + (grant.correction is not None)
    shown = _Shown(fitting, exchanges_max, request.messages, request.whole)
    deadline = asyncio.get_running_loop().time() + seconds_max
    late = TurnExpired(grant.model.name, f"it took over {grant.turn_seconds_max:g} s")
    memory = Memory.unpack(grant.memory)
    if grant.telling is not None:
        try:
            async with asyncio.timeout_at(deadline):
                told = await told_reply(engine, request, grant, grant.telling)
        except TimeoutError:
            raise late from None
        if told is not None:
            reply.exchanges = [grant.telling]
            if engine.base.memory_module is not None:
                choice = request.memory._replace(read=False, write=False)
                reply.memory = TurnMemory(memory, choice, reply.messages, 0, engine.base.memory_module)
            reply.add(told)
            yield told
            return
    for attempt in itertools.count():
        reply.history_turns, reply.messages = shown.history_turns, shown.messages
        earlier = history[len(history) - shown.history_turns :]
        messages = tuple(with_history(earlier, shown.messages, request.instructions))
        if wanted is not None:
            reply.exchanges = exchanges_that_fit(
                grant.retrieved,
                turns_in(messages),
                count=shown.retrieved,
                tokens_max=engine.base.context_tokens // CONTEXT_SHARE,
                correction=grant.correction,
            )
        prompt = with_context(messages, reply.exchanges)
        choice, sampling = request.memory, request.sampling
        if prompt[-1:] != messages[-1:]:
            # A question is read beside what tells it: it tells nothing, nor do the examples before it, whose
            # replies are no earlier ones of the chat.
            choice = choice._replace(write=False)
            sampling = replace(sampling, own_words_penalty=1.0)
        if engine.base.memory_module is not None:
            logged = len(messages) - len(shown.messages)
            known = request.instructions + logged if logged else 0
            reply.memory = TurnMemory(memory, choice, messages, known, engine.base.memory_module)
        use = None if reply.memory is None else reply.memory.use
        generate = GenerateRequest(
            request_id=f"{grant.grant_id}:{attempt}",  # a further attempt is a new request to the engine
            prompt=raw_prompts[0] if raw_prompts else prompt,
            sampling=sampling,
            adapter=grant.adapter,
            stream=stream,
            memory=None if use is None else use.after(len(prompt) - len(messages)),
            owner=Owner(*grant.model),
            template=request.template,
            keeps_to=_kept_text(grant.correction, reply.exchanges),
        )
        try:
            choices = generate_choices(engine, generate, request.choices, raw_prompts)
            async with aclosing(until(choices, deadline, late)) as deltas:
                async for delta in deltas:
                    if delta.choice == request.kept:
                        reply.add(delta)
                    yield delta
            return
        except PromptTooLong as refused:
            continuing = _continuing(history, shown.messages[request.instructions :])
            less = shown.less(refused, prompt, len(reply.exchanges), request.sampling.max_tokens, continuing)
            if less is None:
                raise
            shown = less


def _fitting(turns: Sequence[Sequence[Message]], own: Sequence[Message], base: BaseInfo) -> int:
    """Count the newest turns that may take a share of the context, or that ``own`` messages continue.

    One longer turn may take it all.
    """
    characters = [sum(len(message.content) for message in turn) for turn in turns]
    fitting = max(1, turns_that_fit(characters, base.context_tokens // HISTORY_SHARE))
    return with_their_calls(min(len(turns), fitting), _continuing(turns, own))


def _continuing(turns: Sequence[Sequence[Message]], own: Sequence[Message]) -> list[bool]:
    """Say of each turn, and last of ``own`` messages, whether they begin with results of tools."""
    return [next((said.role for said in turn), "") == TOOL_ROLE for turn in (*turns, own)]


def _kept_text(correction: Exchange | None, shown: Sequence[Exchange]) -> str:
    """Return the corrected reply, if the prompt shows it whole: the base often overlooks what it is shown."""
    if correction is None or correction not in shown or not correction.is_answered_whole:
        return ""
    return correction.answered


async def _abandon(hosts: TurnHost, grant: TurnGrant, *, refused: bool) -> None:
    try:
        await hosts.abandon_turn(grant, "the turn did not finish", refused=refused)
    except PopulaceError as error:
        # The caller gets the error of the turn and not this one; the deadline ends the turn.
        logger.warning("A turn of %s could not be given back: %s", grant.model, error)
