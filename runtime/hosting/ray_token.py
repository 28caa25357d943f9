# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The token that this process sends to Ray, and asks for."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # a compiled module

from populace.settings.environment import entered_ray_token


@contextmanager
def ray_token(token_file: Path) -> Generator[None]:
    """Use the token in a file for the Ray that this process starts or joins in the block, and its children.

    This process must not be in a Ray when the block begins or ends.
    """
    try:
        with entered_ray_token(token_file):
            read_token_again()
            yield
    finally:
        # Ray keeps the token that it has read: the next Ray of this process may have another.
        read_token_again()


def read_token_again() -> None:
    """Make Ray read the variables of its token anew; it read them when it was imported."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
