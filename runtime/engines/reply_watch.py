"""Ends a reply that degenerates: the same rule for every engine, by the text that it made so far."""

from populace.actors.engine import GenerateRequest
from populace.engines.kept_text import is_free
from populace.policies.degeneration import (
    SEEN_CHARACTERS_MAX,
    STEP_CHARACTERS,
    Degeneration,
    degeneration,
)


class ReplyWatch:
    """Judges one reply while it grows; none that has a form, may be a call or keeps to a text."""

    def __init__(self, request: GenerateRequest) -> None:
        sampling = request.sampling
        may_end = sampling.ends_degenerate and not sampling.min_tokens
        self.is_on = may_end and is_free(request) and not request.keeps_to
        self._text = ""
        self._unseen = 0

    def degenerates(self, text: str) -> Degeneration | None:
        """Take in what a step added; return how the reply degenerates, if it does."""
        if not self.is_on:
            return None
        self._text = (self._text + text)[-SEEN_CHARACTERS_MAX:]
        self._unseen += len(text)
        if self._unseen < STEP_CHARACTERS:
            return None
        self._unseen = 0
        broken = degeneration(self._text)
        return None if broken is None else broken.kind
