# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# transformers' tokenizer methods have untyped keyword arguments.
"""From a prompt to token ids, and from a token id to its text: the same for every engine.

A chat template is rendered with marks at the control tokens that it writes itself.
Who wrote a token cannot be seen in what a template rendered. So its own strings, and the names of special
tokens that it is given, are rendered with marks in place of the control tokens in them, while what people
wrote goes in and comes out as it is. Where a template looks for a token in a message, to leave out what a
model thought for example, it looks for the token and not for its mark.
"""

import asyncio
import functools
import inspect
import json
import secrets
from bisect import bisect_right
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple, cast

from jinja2 import Template, nodes
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import _compile_jinja_template

from populace.actors.engine import NO_VARIABLES, Message, Prompt, PromptRead, Sampling, TokenLogprob
from populace.actors.errors import EngineOverloaded, InvalidRequest, TextTooLong
from populace.actors.owner import NO_OWNER, Owner
from populace.actors.tool_calls import ToolCall, calls_in
from populace.engines.control_tokens import ControlTokens, strings_in
from populace.engines.fair_turns import FairTurns

_MARK = "\u2063{}\u2063"  # invisible separators, which no template looks for

Render = Callable[[tuple[Message, ...]], str]


def content_places(text: str, messages: tuple[Message, ...], first: int, render: Render) -> list[int]:
    """Return the character at which the content of each message from ``first`` on begins in ``text``.

    The conversation is rendered once more with marks in place of the contents, which shows what the template
    writes between them. If the template changes a content other than by trimming it, each message is
    rendered with another content: its content begins at the first character that differs.
    """
    marks = [_MARK.format(index) for index in range(len(messages))]
    marked = render(
        tuple(message._replace(content=mark) for message, mark in zip(messages, marks, strict=True))
    )
    places = _between(text, messages, marked, marks)
    if places is not None:
        return places[first:]
    return [_changed_at(text, messages, index, render) for index in range(first, len(messages))]


def _between(text: str, messages: Sequence[Message], marked: str, marks: Sequence[str]) -> list[int] | None:
    """Find the places from the marked text; return None if the texts differ in more than the contents."""
    places: list[int] = []
    here = 0
    for message, mark in zip(messages, marks, strict=True):
        before, found, marked = marked.partition(mark)
        if not found or not text.startswith(before, here):
            return None
        here += len(before)
        places.append(here)
        after = marked.partition("\u2063")[0]
        for content in (message.content, message.content.strip()):
            if text.startswith(content + after, here):
                here += len(content)
                break
        else:
            return None
    return places if text[here:] == marked else None


def _changed_at(text: str, messages: tuple[Message, ...], index: int, render: Render) -> int:
    content = "1" if messages[index].content.lstrip().startswith("0") else "0"
    altered = (*messages[:index], messages[index]._replace(content=content), *messages[index + 1 :])
    return shared_beginning(text, render(altered))


def shared_beginning(*sequences: Sequence[Hashable]) -> int:
    """Return the length of the longest prefix that all sequences share."""
    alike = takewhile(lambda items: len(set(items)) == 1, zip(*sequences, strict=False))
    return sum(1 for _ in alike)


LOOKS = frozenset(
    {
        *("count", "endswith", "find", "index", "lstrip", "partition", "removeprefix", "removesuffix"),
        *("replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split", "startswith", "strip"),
    }
)
"""The methods of strings, and the filters, whose first argument is looked for in the text."""

_compiled = cast("Callable[[str], Template]", _compile_jinja_template)


class MarkedTemplate:
    """A chat template of which ``render`` marks the control tokens. Any thread may use it."""

    def __init__(self, source: str, control: ControlTokens, special_tokens: Mapping[str, str]) -> None:
        """``special_tokens`` are the tokenizer's own variables of the template, by name."""
        self._control = control
        self._variables = {name: control.marked(token) for name, token in special_tokens.items()}
        # A name that no caller's variable has.
        self._unmarked = f"unmarked_{secrets.token_hex(8)}"
        environment = _compiled(source).environment
        tree = environment.parse(source)
        for literal in tree.find_all((nodes.Const, nodes.TemplateData)):
            if isinstance(literal, nodes.TemplateData):
                literal.data = control.marked(literal.data)
            elif isinstance(literal.value, str):
                literal.value = control.marked(literal.value)
        for node in list(tree.find_all((nodes.Compare, nodes.Call, nodes.Filter))):
            self._look_unmarked(node)
        tree.set_environment(environment)
        # jinja2 takes a tree where its annotation says a string's source or one.
        self._template = environment.from_string(tree, globals={self._unmarked: self._without_marks})

    def render(self, conversation: Sequence[Mapping[str, Any]], template: Mapping[str, Any]) -> str:
        """Render as ``apply_chat_template`` does; raises what the template raises."""
        given = {"tools": None, "documents": None, **self._variables, **template}
        return self._template.render(messages=conversation, add_generation_prompt=True, **given)

    def _look_unmarked(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Compare):
            node.expr = self._looking(node.expr)
            for operand in node.ops:
                operand.expr = self._looking(operand.expr)
        elif isinstance(node, nodes.Filter):
            if node.name in LOOKS and node.args:
                node.args[0] = self._looking(node.args[0])
        elif isinstance(node, nodes.Call):
            called = node.node
            if isinstance(called, nodes.Getattr) and called.attr in LOOKS and node.args:
                node.args[0] = self._looking(node.args[0])

    def _looking(self, expression: nodes.Expr) -> nodes.Expr:
        named = nodes.Name(self._unmarked, "load", lineno=expression.lineno)
        return nodes.Call(named, [expression], [], None, None, lineno=expression.lineno)

    def _without_marks(self, value: object) -> object:
        if isinstance(value, str):
            return self._control.unmarked(value)
        if isinstance(value, (list, tuple)):
            items = map(self._without_marks, cast("Sequence[object]", value))
            return tuple(items) if isinstance(value, tuple) else list(items)
        return value


INLINE_CHARACTERS_MAX = 2000
"""A prompt up to this long is tokenised on the event loop: about 0.5 ms, and a thread costs 0.2 ms."""

WAITING_CHARACTERS_MAX = 8_000_000
"""More of one tenant's prompts do not wait to be tokenised: one thread reads about a million a second."""

NORMALIZED_SHRINK = 4
"""More characters than this become no single one when a tokenizer normalises a text (NFC makes one of 3)."""

MESSAGE_CHARACTERS = 30
"""About as many characters are written around a message by a template."""


WRITTEN_ROLES = frozenset({"user", "assistant"})
"""A memory takes in the conversation, and neither the system's messages nor what tools returned."""


_APPLY = cast("Callable[..., object]", PreTrainedTokenizerFast.apply_chat_template)
TOOLS = "tools"
"""The variable of a chat template that has the tools, of which the model chooses what to call."""
TEMPLATE_PARAMETERS = frozenset(inspect.signature(_APPLY).parameters) - {TOOLS}
"""What a caller's variables would replace: how a template is rendered, and what is rendered."""


class PromptTokens(NamedTuple):
    """A prompt's token ids, and the ranges [start, stop) of those that a memory takes in, by message."""

    ids: list[int]
    spans: tuple[tuple[int, int], ...] = ()


class BaseTokenizer:
    """The base model's tokenizer, chat template and end-of-sequence ids."""

    def __init__(self, base_directory: Path, written_roles: frozenset[str] = WRITTEN_ROLES) -> None:
        """Messages of the ``written_roles`` have spans."""
        self._written_roles = written_roles
        loaded = AutoTokenizer.from_pretrained(str(base_directory), local_files_only=True)
        self._tokenizer = cast("PreTrainedTokenizerFast", loaded)
        # Several templates have names: one for chats with tools, and one for others.
        self._control = ControlTokens(self.backend, str(cast("object", self._tokenizer.chat_template)))
        self._marked = functools.cache(self._marked_template)
        self._vocabulary_size = len(self._tokenizer)
        longest = max(map(len, self._tokenizer.get_vocab()))
        shrink = 1 if self.backend.normalizer is None else NORMALIZED_SHRINK
        self._token_characters_max = longest * shrink
        # A base that learned to call tools reads earlier calls in the form that it learned.
        self._shows_calls = "tool_calls" in str(cast("object", self._tokenizer.chat_template))
        self.eos_ids = _eos_ids(base_directory, cast("int | None", self._tokenizer.eos_token_id))
        self._text = functools.lru_cache(maxsize=65536)(self._decode)
        # One thread: it keeps a long prompt (about 1 ms per 1,000 tokens) off the event loop,
        # and Hugging Face's fast tokenizers must not be entered by two threads at once.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")
        self._last: Future[PromptTokens] | None = None
        self._turns = FairTurns()

    @property
    def template_tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer of transformers, which vLLM's parsers take."""
        return self._tokenizer

    @property
    def backend(self) -> Tokenizer:
        return self._tokenizer.backend_tokenizer

    def tokens_min(self, prompt: Prompt) -> int:
        """Return how many tokens the prompt has at least, at once however long it is."""
        if isinstance(prompt, str):
            return len(prompt) // self._token_characters_max
        contents = [part.content for part in prompt if isinstance(part, Message)]
        return sum(map(len, contents)) // self._token_characters_max if contents else len(prompt)

    async def tokens(
        self,
        prompt: Prompt,
        new_from: int | None = None,
        template: Mapping[str, Any] = NO_VARIABLES,
        owner: Owner = NO_OWNER,
    ) -> PromptTokens:
        """Render and tokenise, a long prompt off the event loop and tenants in turn; see ``tokens_of``.

        Raises ``EngineOverloaded`` if too much of the tenant's waits.
        """
        characters = _characters(prompt) + sum(map(len, strings_in(dict(template))))
        # Who is cancelled gives the turn back while the thread may still work for it.
        thread_is_idle = self._turns.is_free and (self._last is None or self._last.done())
        if thread_is_idle and characters <= INLINE_CHARACTERS_MAX:
            return self.tokens_of(prompt, new_from, template)
        if self._turns.waiting_cost(owner.tenant) > WAITING_CHARACTERS_MAX:
            message = f"prompts of {WAITING_CHARACTERS_MAX} characters wait to be read"
            raise EngineOverloaded(message, limit=WAITING_CHARACTERS_MAX)
        async with self._turns.turn(owner.tenant, characters):
            self._last = self._thread.submit(self.tokens_of, prompt, new_from, template)
            # Shielded: if it were cancelled while it waits, it would look done while another still runs.
            return await asyncio.shield(asyncio.wrap_future(self._last))

    def tokens_of(
        self, prompt: Prompt, new_from: int | None = None, template: Mapping[str, Any] = NO_VARIABLES
    ) -> PromptTokens:
        """Chat messages through the chat template, text with the tokenizer's own markers, ids as they are.

        A control token that a message or a variable spells is text, and one of a prompt that is text is the
        token.

        The spans are those of the messages from ``new_from`` on, system messages left out. A message's
        span begins with its content and ends where the next one's begins, or with the prompt. ``template``
        are further variables of the chat template.

        Raises:
            InvalidRequest: the prompt is empty, the template refuses it, an id is not in the vocabulary, or
                a text that spells a control token cannot be told from what the template writes.
        """
        if isinstance(prompt, str):
            ids = self._tokenizer.encode(prompt)
        elif prompt and isinstance(prompt[0], Message):
            messages = cast("tuple[Message, ...]", prompt)
            render = partial(self._render, template=template)
            text = render(messages)
            ids, ends = self._rendered(text, messages, template, with_ends=new_from is not None)
            if new_from is not None:
                return PromptTokens(ids, self._message_spans(messages, text, ends, new_from, render))
        else:
            ids = list(cast("tuple[int, ...]", prompt))
            self._check_vocabulary(ids, "prompt")
        if not ids:
            raise InvalidRequest("The prompt is empty.", "prompt")
        return PromptTokens(ids, () if new_from is None else ((0, len(ids)),))

    async def read(
        self, prompts: Sequence[Prompt], context_tokens: int, owner: Owner = NO_OWNER
    ) -> list[list[int]]:
        """Tokenise prompts that are embedded. One token of the context is left, which vLLM makes of each.

        Raises ``InvalidRequest``, and ``TextTooLong`` if one does not fit. Other callers' prompts are read
        between these.
        """
        for number, prompt in enumerate(prompts):
            self._check_fits(number, self.tokens_min(prompt), context_tokens)
        read: list[list[int]] = []
        for number, prompt in enumerate(prompts):
            try:
                ids = (await self.tokens(prompt, owner=owner)).ids
            except InvalidRequest as error:
                raise InvalidRequest(f"Text {number}: {error}", "input") from error
            self._check_fits(number, len(ids), context_tokens)
            read.append(ids)
            await asyncio.sleep(0)
        return read

    @staticmethod
    def _check_fits(number: int, tokens: int, context_tokens: int) -> None:
        if tokens >= context_tokens:
            raise TextTooLong(number, tokens, context_tokens)

    def reply_end(self, ids: Sequence[int], start: int, stop: int) -> int:
        """Return the place of the token that ends the reply in [start, stop), or of its last token."""
        return next((place for place in range(start, stop) if ids[place] in self.eos_ids), stop - 1)

    def check_reply(self, ids: Sequence[int] | None) -> None:
        """Raise ``InvalidRequest`` unless this is None or a reply that can be repeated."""
        if ids is not None:
            if not ids:
                raise InvalidRequest("A reply has one token at least.", "reply_ids")
            self._check_vocabulary(ids, "reply_ids")

    def check_sampling(self, sampling: Sampling) -> None:
        """Raise ``InvalidRequest`` for a token id, or a bad word, that the vocabulary does not have."""
        self._check_vocabulary([token_id for token_id, _ in sampling.logit_bias], "logit_bias")
        self._check_vocabulary(sampling.allowed_token_ids, "allowed_token_ids")
        self._check_vocabulary(sampling.stop_token_ids, "stop_token_ids")
        self.bad_word_ids(sampling.bad_words)

    def text_ids(self, text: str) -> list[int]:
        """Return the tokens of a text alone, as a reply would say it from its beginning.

        They are text, also where it spells special tokens.
        """
        if self._control.spelled(text):
            return self._control.text_ids(text)
        return self._tokenizer.encode(text, add_special_tokens=False)

    def bad_word_ids(self, words: Sequence[str]) -> list[list[int]]:
        """Return what each word must not be completed as: at the beginning of a text, and inside it.

        They are vLLM's ids: a word inside a text counts if only its first token is another one there.
        """
        found: list[list[int]] = []
        for word in words:
            first, inside = (
                self._tokenizer.encode(space + word.lstrip(), add_special_tokens=False) for space in ("", " ")
            )
            if not first:
                raise InvalidRequest(f"{word!r} has no tokens.", "bad_words")
            found.append(first)
            if inside and inside[0] != first[0] and len(inside) == len(first):
                found.append(inside)
        return found

    def prompt_read(self, ids: Sequence[int], rows: Sequence[TokenLogprob] | None) -> PromptRead:
        """Describe a prompt; ``rows`` are of all its tokens but the first, None if not asked for."""
        first = None if rows is None else self.token_text(ids[0])
        text = cast("str", self._tokenizer.decode(list(ids)))
        return PromptRead(tuple(ids), text, first, tuple(rows or ()))

    def _check_vocabulary(self, ids: Sequence[int], parameter: str) -> None:
        if any(not 0 <= token_id < self._vocabulary_size for token_id in ids):
            raise InvalidRequest(f"Token ids must be from 0 to {self._vocabulary_size - 1}.", parameter)

    def token_text(self, token_id: int) -> str:
        """The text of one token alone; a part of a multi-byte character reads as U+FFFD."""
        return self._text(token_id)

    def text(self, ids: Sequence[int]) -> str:
        """The text of a reply, without special tokens."""
        return cast("str", self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def close(self) -> None:
        self._thread.shutdown(wait=False)

    def _render(self, messages: tuple[Message, ...], *, template: Mapping[str, Any]) -> str:
        if taken := [name for name in template if name in TEMPLATE_PARAMETERS]:
            raise InvalidRequest(f"`{taken[0]}` is no variable of a chat template.", "chat_template_kwargs")
        conversation = self._conversation(messages)
        try:
            rendered = self._tokenizer.apply_chat_template(
                conversation, tokenize=False, add_generation_prompt=True, **template
            )
        except Exception as error:  # templates raise jinja2 errors, ValueError, TypeError at will
            raise InvalidRequest(
                f"The base model's chat template refused the messages: {error}", "messages"
            ) from error
        return cast("str", rendered)

    def _rendered(
        self, text: str, messages: tuple[Message, ...], template: Mapping[str, Any], *, with_ends: bool
    ) -> tuple[list[int], list[int]]:
        """Return the tokens of the rendered messages, and ``with_ends`` where in the text each ends."""
        conversation = self._conversation(messages)
        if spelled := self._control.spelled([conversation, dict(template)]):
            return self._control.read(self._told_apart(text, conversation, template, spelled))
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=with_ends)
        ends = [stop for _, stop in cast("list[tuple[int, int]]", encoded.get("offset_mapping", ()))]
        return cast("list[int]", encoded["input_ids"]), ends

    def _told_apart(
        self,
        text: str,
        conversation: list[dict[str, Any]],
        template: Mapping[str, Any],
        spelled: frozenset[str],
    ) -> str:
        """Return the rendered text with marks at the control tokens that the template wrote.

        The template may have put one together, which is then none that the messages spell.
        """
        source = self._tokenizer.get_chat_template(tools=template.get(TOOLS))
        try:
            marked = self._marked(source).render(conversation, template)
        except Exception:  # templates raise jinja2 errors, ValueError, TypeError at will
            marked = ""
        if self._control.unmarked(marked) != text:
            named = ", ".join(sorted(spelled))
            raise InvalidRequest(
                f"The text of a control token, {named}, cannot be told from what the base's chat template "
                "writes. Leave it out.",
                "messages",
            )
        return self._control.marked(marked, but_for=spelled)

    def _marked_template(self, source: str) -> MarkedTemplate:
        return MarkedTemplate(source, self._control, self._tokenizer.special_tokens_map)

    def _conversation(self, messages: tuple[Message, ...]) -> list[dict[str, Any]]:
        """Render the messages for the template.

        A person says several things in a row where one had no reply. A template that takes them so gets them
        so, which is how its makers write it; one that refuses them, or leaves some out, gets them as one
        message, with an empty line between.
        """
        conversation: list[dict[str, Any]] = []
        for message in messages:
            before = conversation[-1] if conversation else None
            if before is not None and before["role"] == message.role == "user" and self._joins:
                before["content"] += f"\n\n{message.content}"
            else:
                conversation.append(self._spoken(message))
        return conversation

    @functools.cached_property
    def _joins(self) -> bool:
        said = ("said first", "said then")
        messages = [{"role": "user", "content": text} for text in said]
        try:
            rendered = self._tokenizer.apply_chat_template(messages, tokenize=False)
        except Exception:  # templates raise jinja2 errors, ValueError, TypeError at will
            return True
        return not all(text in cast("str", rendered) for text in said)

    def _spoken(self, message: Message) -> dict[str, Any]:
        """Render a message for the template, with its calls if there are any and the template shows them."""
        calls: tuple[ToolCall, ...] = ()
        content = message.content
        if self._shows_calls and message.role == "assistant":
            content, calls = calls_in(content)
        spoken: dict[str, Any] = {"role": message.role, "content": content}
        if calls:
            spoken["tool_calls"] = [
                {"type": "function", "function": {"name": call.name, "arguments": _given(call.arguments)}}
                for call in calls
            ]
        return spoken

    def _message_spans(
        self, messages: tuple[Message, ...], text: str, ends: list[int], new_from: int, render: Render
    ) -> tuple[tuple[int, int], ...]:
        """Find the messages' tokens: the first has the first character of the message's content.

        ``ends`` has for each token the place in the text where it ends.
        """
        places = content_places(text, messages, new_from, render)
        starts = [bisect_right(ends, place) for place in places]
        return tuple(
            (start, stop)
            for start, stop, message in zip(
                starts, [*starts[1:], len(ends)], messages[new_from:], strict=False
            )
            if message.role in self._written_roles and start < stop
        )

    def _decode(self, token_id: int) -> str:
        return cast("str", self._tokenizer.decode([token_id]))


def _given(arguments: str) -> object:
    """Return the arguments as templates write them, or the text if a model wrote something else."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def _characters(prompt: Prompt) -> int:
    if isinstance(prompt, str):
        return len(prompt)
    return sum(MESSAGE_CHARACTERS + len(part.content) if isinstance(part, Message) else 1 for part in prompt)


def _eos_ids(base_directory: Path, tokenizer_eos: int | None) -> frozenset[int]:
    """Return every id that ends a reply. Models list them in up to three places, which differ."""
    ids = set[int]() if tokenizer_eos is None else {tokenizer_eos}
    for name in ("config.json", "generation_config.json"):
        path = base_directory / name
        if path.exists():
            named = cast("int | list[int] | None", json.loads(path.read_text()).get("eos_token_id"))
            ids.update([named] if isinstance(named, int) else named or [])
    return frozenset(ids)
