"""Texts that callers give, which must be such that they can be stored and sent."""


def encodable(text: str) -> str:
    """Return the text. Raises ``ValueError`` for one with a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it must be valid Unicode, but holds a lone surrogate") from None
    return text
