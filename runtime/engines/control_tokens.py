"""Tokenises people's text as text, also where it spells a control token such as ``<|im_end|>``.

Read as the token, it would end a message or a reply in its middle: a correction that has it would be learned
up to there, and never be said. So the tokens that a chat template wrote are marked in what it renders
(``prompts.py``), by secret names, and the marked text is read by a copy of the tokenizer that knows
them by these names alone.
"""

import json
import re
import secrets
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, cast

from tokenizers import Tokenizer


class ControlTokens:
    """Tells the control tokens of a base from texts that spell them. Any thread may use it.

    They are the special ones, and of the others that were added to the vocabulary those that the chat
    ``template`` has, such as ``<tool_call>``. Added tokens that are white space mark nothing.
    """

    def __init__(self, backend: Tokenizer, template: str = "") -> None:
        self._backend = backend
        added = backend.get_added_tokens_decoder().values()
        tokens = [one for one in added if one.special or (one.content in template and one.content.strip())]
        self._special = frozenset(token.content for token in tokens if token.special)
        # Such a token is also found where a text becomes its spelling only when it is normalised.
        normalizes = any(token.normalized for token in tokens)
        self._normalizer = backend.normalizer if normalizes else None
        # The longest first, as the tokenizer finds them.
        names = sorted((token.content for token in tokens), key=len, reverse=True)
        self._spelled = re.compile("|".join(map(re.escape, names)) or "(?!)")
        secret = secrets.token_hex(8)
        self._names = names
        self._marks = {name: f"\ue000{secret}.{number}\ue001" for number, name in enumerate(names)}
        self._mark = re.compile(rf"\ue000{secret}\.([0-9]+)\ue001")

    def spelled(self, value: object) -> frozenset[str]:
        """Return the control tokens that the strings spell of which the value is made, as JSON is."""
        return frozenset(found for text in strings_in(value) for found in self._found(text))

    def marked(self, text: str, but_for: Collection[str] = ()) -> str:
        """Return the text with a mark in place of each control token that it spells, ``but_for`` some."""
        return self._spelled.sub(
            lambda found: found[0] if found[0] in but_for else self._marks[found[0]], text
        )

    def unmarked(self, text: str) -> str:
        """Return the text with the control tokens in place of their marks."""
        return self._mark.sub(lambda mark: self._names[int(mark[1])], text)

    def text_ids(self, text: str) -> list[int]:
        """Return the tokens of a text alone: a special one that it spells is text.

        One that is not special is the token: people see it in what a model says, and it may be the model's.
        """
        return self.read(self.marked(text, but_for=self._special))[0]

    def read(self, marked: str) -> tuple[list[int], list[int]]:
        """Return the tokens of a text, and for each the place where it ends in the text without the marks.

        What is marked is the control token, and what spells one is text.
        """
        tokenizer, ids = self._plain
        encoding = tokenizer.encode(marked, add_special_tokens=False)
        marks = list(self._mark.finditer(marked))
        stops = [mark.end() for mark in marks]
        longer = [0, *accumulate(len(mark[0]) - len(self._names[int(mark[1])]) for mark in marks)]
        ends = [end - longer[bisect_right(stops, end)] for _, end in encoding.offsets]
        return [ids.get(token, token) for token in encoding.ids], ends

    def _found(self, text: str) -> Iterator[str]:
        for form in {text, text if self._normalizer is None else self._normalizer.normalize_str(text)}:
            yield from self._spelled.findall(form)

    @cached_property
    def _plain(self) -> tuple[Tokenizer, dict[int, int]]:
        """The tokenizer that knows control tokens by their marks, and the base's ids by its own."""
        # Few texts need it: it takes 0.1 s to make, once.
        saved = json.loads(self._backend.to_str())
        saved["post_processor"] = None  # it may name the tokens, and adds what is not asked for here
        for token in saved["added_tokens"]:
            token["content"] = self._marked(token["content"])
        # Where they are words of the vocabulary too, no text is to become one by way of the vocabulary.
        model: dict[str, Any] = saved["model"]
        words = cast("dict[str, int] | list[tuple[str, float]]", model["vocab"])
        if isinstance(words, dict):
            model["vocab"] = {self._marked(word): number for word, number in words.items()}
        else:
            model["vocab"] = [(self._marked(word), score) for word, score in words]
        if model.get("merges"):
            model["merges"] = [pair for pair in model["merges"] if "".join(pair) not in self._marks]
        if isinstance(model.get("unk_token"), str):
            model["unk_token"] = self._marked(model["unk_token"])
        tokenizer = Tokenizer.from_str(json.dumps(saved))
        added = self._backend.get_added_tokens_decoder().items()
        ids = {tokenizer.token_to_id(self._marked(token.content)): number for number, token in added}
        return tokenizer, cast("dict[int, int]", ids)

    def _marked(self, word: str) -> str:
        return self._marks.get(word, word)


def strings_in(value: object) -> Iterator[str]:
    """Find all strings in a value that is made of mappings and sequences."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for pair in cast("dict[object, object]", value).items():
            yield from strings_in(pair)
    elif isinstance(value, (list, tuple)):
        for item in cast("Sequence[object]", value):
            yield from strings_in(item)
