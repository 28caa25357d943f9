"""From tokens to streamed text: whole characters only, and never a part of a stop string."""

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream


class StopStrings:
    """Finds the first stop string in text that arrives in pieces.

    Text that may be the beginning of a stop string is held back until it is decided. Pure.
    """

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._stop = stop
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Return what may be shown now, and whether a stop string was met (nothing follows it)."""
        self._held += text
        found = [index for stop in self._stop if (index := self._held.find(stop)) >= 0]
        if found:
            shown, self._held = self._held[: min(found)], ""
            return shown, True
        undecided = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        cut = len(self._held) - undecided
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown, False

    def flush(self) -> str:
        """Return what was held back, when the reply ended for another reason."""
        held, self._held = self._held, ""
        return held


class ReplyText:
    """The text of one reply, token by token. Special tokens have no text."""

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._stop_strings = StopStrings(stop)

    def push(self, token_id: int) -> tuple[str, bool]:
        """Return the text that became certain, and whether a stop string ended the reply."""
        return self._stop_strings.push(self._stream.step(self._tokenizer, token_id) or "")

    def flush(self) -> str:
        return self._stop_strings.flush()


def _overlap(text: str, stop: str) -> int:
    """The length of the longest proper prefix of ``stop`` that ``text`` ends with."""
    longest = min(len(text), len(stop) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)
