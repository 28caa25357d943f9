"""Files in host memory that processes of one machine share: one copy, which stays while it is used.

::

    <root>/<name>                the file
    <root>/users/<user>/<name>   another name of the same file, for each process that uses it
    <root>/users/<user>/<name>.…/  an unfinished file of that name, in a folder that its maker removes
    <root>/users/<user>/.lock    locked while the process lives

Files of one name have equal bytes, so a process that finds it uses it. The last user removes it; the files of
killed users are removed when the next one comes.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from populace.storage.records.errors import StoreInvalid

USERS = "users"
LOCK = ".lock"
MEMORY_BYTES_MIN = 1024**3
_INCOMING = ".incoming-"


class WarmFiles:
    """One process's use of the files. Safe from several threads for different names."""

    def __init__(self, root: Path) -> None:
        """Join the users of ``root``, which is created, readable by this user alone, if it is absent."""
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if root.stat().st_uid != os.getuid():
            raise StoreInvalid(str(root), "it belongs to another user")
        (root / USERS).mkdir(exist_ok=True)
        sweep(root)
        self.scratch = Path(tempfile.mkdtemp(dir=root / USERS))
        """This process's own directory, which goes when it closes, or in the first sweep after it died."""
        unlocked = self.scratch / f"{LOCK}.new"
        self._lock = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Not before: a sweep of another process would take it for that of one that died.
        unlocked.rename(self.scratch / LOCK)

    def path(self, name: str) -> Path:
        """The path of the file for this process while it uses it."""
        return self.scratch / name

    def use(self, name: str) -> int | None:
        """Begin to use an existing file; return its size in bytes, None if there is none."""
        try:
            os.link(self.root / name, self.path(name))
        except FileNotFoundError:
            return None
        except FileExistsError:
            pass
        return self.path(name).stat().st_size

    def add(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Create a file and begin to use it. Raises ``OSError`` if there is no room; nothing is left then."""
        descriptor, incoming = tempfile.mkstemp(prefix=_INCOMING, dir=self.scratch)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(data)
            Path(incoming).rename(self.path(name))
        except BaseException:
            Path(incoming).unlink(missing_ok=True)
            raise
        with contextlib.suppress(FileExistsError):  # another process was faster; each has a copy for now
            os.link(self.path(name), self.root / name)

    def leave(self, name: str) -> None:
        """End using a file; the last user removes it. Existing maps of it stay valid."""
        self.path(name).unlink(missing_ok=True)
        _remove_unused(self.root / name)

    def close(self) -> None:
        """End using all files; those of other users are not removed."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        os.close(self._lock)
        sweep(self.root)


def sweep(root: Path) -> None:
    """Remove the names of ended users, and the files without users. Does nothing if ``root`` is absent."""
    if not (root / USERS).is_dir():
        return
    for user in (root / USERS).iterdir():
        if _is_gone(user):
            shutil.rmtree(user, ignore_errors=True)
    for file in root.iterdir():
        if file.is_file():
            _remove_unused(file)


def warm_root(parent: Path | None = None) -> Path:
    """Return the directory in which this user's processes on this machine share files.

    It is in ``parent``, which with None is the machine's memory if that can be used.
    """
    return (parent or _memory()) / f"populace-{os.getuid()}"


def _memory() -> Path:
    memory = Path("/dev/shm")  # noqa: S108 - a directory of this user's own in it
    is_usable = memory.is_dir() and os.access(memory, os.W_OK)
    # A container has 64 MB of it by default; files mapped from a disk are in memory as well.
    is_large = is_usable and shutil.disk_usage(memory).total >= MEMORY_BYTES_MIN
    return memory if is_large else Path(tempfile.gettempdir())


def erase(root: Path, prefix: str) -> None:
    """Remove the files whose names begin with ``prefix``, finished or not, for all users."""
    for pattern in (f"{prefix}*", f"{USERS}/*/{prefix}*"):
        for path in root.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _remove_unused(file: Path) -> None:
    # Between the two a user may come: its own name keeps the bytes, and the next user finds no file here.
    with contextlib.suppress(FileNotFoundError):
        if file.stat().st_nlink == 1:
            file.unlink()


def _is_gone(user: Path) -> bool:
    try:
        descriptor = os.open(user / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False  # it has only just come
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
