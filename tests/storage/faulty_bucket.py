"""A bucket in memory whose next requests fail as a test says."""

from collections.abc import Generator, Iterable, Sequence
from enum import Enum

from obstore.store import MemoryStore

from populace.storage.journal.bucket import Listed
from populace.storage.journal.errors import BucketUnreachable
from populace.storage.journal.object_bucket import ObjectBucket


class Fault(Enum):
    """What becomes of a write: it takes no effect, or its answer is lost, or it takes effect later."""

    LOST = "lost"
    UNANSWERED = "unanswered"
    LATE = "late"


class FaultyBucket:
    """Implements ``Bucket``; ``faults`` are those of the next writes, None for one that is answered."""

    url = "memory:"

    def __init__(self) -> None:
        self.bucket = ObjectBucket("memory:", MemoryStore())
        self.faults: list[Fault | None] = []
        self.late: list[tuple[str, bytes]] = []
        self.is_down = False

    def arrive(self) -> None:
        """Let the late writes take effect; those whose name is taken meanwhile have none."""
        for name, content in self.late:
            self.bucket.create(name, content)
        self.late.clear()

    def create(self, name: str, content: bytes) -> bool:
        fault = self._next()
        if fault is Fault.LATE:
            self.late.append((name, content))
        elif fault is not Fault.LOST:
            created = self.bucket.create(name, content)
            if fault is None:
                return created
        raise BucketUnreachable("a test says so")

    def replace(self, name: str, content: bytes | Iterable[bytes]) -> None:
        fault = self._next()
        if fault in (None, Fault.UNANSWERED):
            self.bucket.replace(name, content)
        if fault is not None:
            raise BucketUnreachable("a test says so")

    def read(self, name: str) -> bytes | None:
        self._check_up()
        return self.bucket.read(name)

    def has(self, name: str) -> bool:
        self._check_up()
        return self.bucket.has(name)

    def stream(self, name: str) -> Generator[bytes] | None:
        self._check_up()
        return self.bucket.stream(name)

    def names(self, prefix: str, *, after: str = "") -> list[Listed]:
        self._check_up()
        return self.bucket.names(prefix, after=after)

    def folders(self) -> list[str]:
        return self.bucket.folders()

    def remove(self, names: Sequence[str]) -> None:
        self._check_up()
        self.bucket.remove(names)

    def _next(self) -> Fault | None:
        self._check_up()
        return self.faults.pop(0) if self.faults else None

    def _check_up(self) -> None:
        if self.is_down:
            raise BucketUnreachable("a test says so")
