"""For whom an engine works: whose cached prompts a request may find, and how urgent it is beside others."""

from enum import IntEnum
from typing import NamedTuple


class Rank(IntEnum):
    """How urgent a request is; the lowest number is served first.

    A person waits for a ``CHAT``, a ``POPULATION`` answers one question with many replies, and what is in the
    ``BACKGROUND`` is waited for by a job.
    """

    CHAT = 0
    POPULATION = 1
    BACKGROUND = 2


class Owner(NamedTuple):
    """Whose request it is. Only requests of the same tenant and model find what an engine caches of it.

    Places in an engine are shared among tenants. Without one, as in a program that has an engine of its own,
    all requests are those of one tenant.
    """

    tenant: str = ""
    model: str = ""
    rank: Rank = Rank.CHAT

    @property
    def name(self) -> str:
        """The tenant's and the model's name, of which neither contains a slash; empty without an owner."""
        return f"{self.tenant}/{self.model}" if self.tenant or self.model else ""


NO_OWNER = Owner()
IN_BACKGROUND = Owner(rank=Rank.BACKGROUND)
