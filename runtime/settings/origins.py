"""The origins whose web pages may use the gateway, as one text."""

import re

ORIGIN = re.compile(r"https?://[^/\s?#@]+")


def origins_in(text: str | None) -> tuple[str, ...]:
    """Separate origins at commas."""
    return tuple(origin.strip().rstrip("/") for origin in (text or "").split(",") if origin.strip())


def checked_origins(text: str | None) -> tuple[str, ...]:
    """Do the same; raises ``ValueError`` for one that no browser sends."""
    origins = origins_in(text)
    for origin in origins:
        if origin != "*" and not ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no origin: those are like https://chat.example.org, or *")
    return origins
