"""From tokens to streamed text: whole characters only, and never a part of a stop string."""

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from populace.actors.engine import Sampling


class StopStrings:
    """Finds the first stop string in text that arrives in pieces.

    Text that may be the beginning of a stop string is held back until it is decided. Pure.
    """

    def __init__(self, stop: tuple[str, ...], *, include: bool = False) -> None:
        """With ``include`` the stop string is shown too."""
        self._stop = stop
        self._include = include
        self._held = ""

    def push(self, text: str, *, may_stop: bool = True) -> tuple[str, bool]:
        """Return what may be shown now, and whether a stop string was met (nothing follows it).

        A stop string that is whole before the reply ``may_stop`` is text like any other.
        """
        self._held += text
        found = [(index, stop) for stop in self._stop if (index := self._held.find(stop)) >= 0]
        if found and may_stop:
            index, stop = min(found, key=lambda place: place[0])
            shown, self._held = self._held[: index + len(stop) if self._include else index], ""
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
    """The text of one reply, token by token. Special tokens have no text unless they are asked for."""

    def __init__(self, tokenizer: Tokenizer, sampling: Sampling) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=sampling.skip_special_tokens)
        self._stop_strings = StopStrings(sampling.stop, include=sampling.include_stop)
        self._unstoppable = sampling.min_tokens

    def push(self, token_id: int) -> tuple[str, bool]:
        """Return the text that became certain, and whether a stop string ended the reply."""
        text = self._stream.step(self._tokenizer, token_id) or ""
        self._unstoppable -= 1
        return self._stop_strings.push(text, may_stop=self._unstoppable < 0)

    def flush(self) -> str:
        return self._stop_strings.flush()


def _overlap(text: str, stop: str) -> int:
    """The length of the longest proper prefix of ``stop`` that ``text`` ends with."""
    longest = min(len(text), len(stop) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)
