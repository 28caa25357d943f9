"""The turns that callers of a host hold, with the call that takes each back if its caller is gone."""

from collections import defaultdict
from typing import NamedTuple

from populace.hosting.directory.operations import Call

FEW = 1024
"""A number of grants that is not worth looking through for those whose deadline passed."""


class Held(NamedTuple):
    """A grant of a caller. After ``until_s`` of the monotonic clock the turn has ended by itself."""

    caller: str
    undo: Call
    until_s: float


class HeldGrants:
    """Grants by caller, by their ids."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._of: defaultdict[str, set[str]] = defaultdict(set)
        self._look_from = FEW

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, grant_id: str, held: Held, *, now_s: float) -> None:
        """Note a grant."""
        self._held[grant_id] = held
        self._of[held.caller].add(grant_id)
        if len(self._held) > self._look_from:
            for ended in [key for key, other in self._held.items() if other.until_s < now_s]:
                self.drop(ended)
            self._look_from = max(FEW, 2 * len(self._held))

    def drop(self, grant_id: str) -> None:
        """Forget a grant whose turn ended, if it is held here."""
        held = self._held.pop(grant_id, None)
        if held is not None:
            of_caller = self._of[held.caller]
            of_caller.discard(grant_id)
            if not of_caller:
                del self._of[held.caller]

    def take(self, caller: str) -> list[Call]:
        """Return what takes back all grants of a caller, and forget them."""
        return [self._held.pop(grant_id).undo for grant_id in self._of.pop(caller, ())]
