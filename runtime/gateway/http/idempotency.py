"""The key by which a client names an operation, so that a retry is recognised."""

from fastapi import Request

from populace.actors.errors import InvalidRequest

IDEMPOTENCY_KEY = "Idempotency-Key"
IDEMPOTENCY_KEY_LENGTH_MAX = 255


def idempotency_key(request: Request) -> str | None:
    """Read the header. Raises ``InvalidRequest`` for one that is empty or too long."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is not None and (not key.strip() or len(key) > IDEMPOTENCY_KEY_LENGTH_MAX):
        raise InvalidRequest(
            f"{IDEMPOTENCY_KEY} must have 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} characters, not only spaces.",
            IDEMPOTENCY_KEY,
        )
    return key
