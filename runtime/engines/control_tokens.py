"""What people write is text, also where it spells a control token of the base, such as ``<|im_end|>``.

Read as the token, it would end a message or a reply in its middle: a correction that has it would be learned
up to there, and never be said.
"""

import re
from functools import cached_property

from tokenizers import Tokenizer

COVER = "\ue000"
"""A character for private use, which no control token has."""


class ControlTokens:
    """Encodes texts that may spell control tokens of a base. Any thread may use it."""

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend
        added = backend.get_added_tokens_decoder().items()
        self._ids = {token.content: token_id for token_id, token in added if token.special}
        # The longest first, as the tokenizer finds them.
        spelled = "|".join(re.escape(token) for token in sorted(self._ids, key=len, reverse=True))
        self._spelled = re.compile(f"({spelled or '(?!)'})")

    def covered(self, text: str) -> str:
        """Return the text, or one of the same length without the control tokens that it spells."""
        return self._spelled.sub(lambda token: COVER * len(token[0]), text)

    def text_ids(self, text: str) -> list[int]:
        """Return the tokens of a text, of which none is a control token."""
        return self._plain.encode(text, add_special_tokens=False).ids

    def rendered(self, text: str, covered: str) -> tuple[list[int], list[int]]:
        """Return the tokens of a rendered conversation, and for each the place in ``text`` where it ends.

        ``covered`` is the same conversation, rendered of covered messages: the control tokens in it are those
        that the template wrote.
        """
        ids: list[int] = []
        ends: list[int] = []
        start = 0
        for number, part in enumerate(self._spelled.split(covered)):
            stop = start + len(part)
            if number % 2:
                ids.append(self._ids[part])
                ends.append(stop)
            else:
                encoding = self._plain.encode(text[start:stop], add_special_tokens=False)
                ids += encoding.ids
                ends += [start + end for _, end in encoding.offsets]
            start = stop
        return ids, ends

    @cached_property
    def _plain(self) -> Tokenizer:
        # A copy, since the flag is the whole tokenizer's, and another thread may encode with it. Few texts
        # need it: it takes 0.1 s to make, once.
        plain = Tokenizer.from_str(self._backend.to_str())
        plain.encode_special_tokens = True
        return plain
