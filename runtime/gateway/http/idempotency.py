"""The key by which a client names an operation, so that a retry is recognised."""

from contextlib import suppress

from fastapi import Request

from populace.actors.errors import InvalidRequest
from populace.actors.turn import KEY_LENGTH_MAX

IDEMPOTENCY_KEY = "Idempotency-Key"


def idempotency_key(request: Request) -> str | None:
    """Read the header. Raises ``InvalidRequest`` for one that is empty or too long."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is not None:
        # HTTP's headers are bytes; those of a key beyond ASCII are UTF-8, as from Python, or else Latin-1.
        with suppress(UnicodeDecodeError):
            key = key.encode("latin-1").decode()
    if key is not None and (not key.strip() or len(key) > KEY_LENGTH_MAX):
        raise InvalidRequest(
            f"{IDEMPOTENCY_KEY} must have 1 to {KEY_LENGTH_MAX} characters, not only spaces.",
            IDEMPOTENCY_KEY,
        )
    return key
