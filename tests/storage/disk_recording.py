"""What a process asked of the disk: strace's record of one directory, as changes, syncs and lines.

Times are line numbers of the record. A change is somewhere between ``begun`` and ``done``; a sync
covers what was done before it began, from when it is done itself. Mapped memory is not seen.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.limits import HANG_SECONDS

REPOSITORY = Path(__file__).parents[2]

CALLS = (
    *("open", "openat", "creat", "close", "dup", "dup2", "dup3", "lseek"),
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "copy_file_range", "sendfile", "splice"),
    *("ftruncate", "truncate", "fallocate", "fsync", "fdatasync", "sync_file_range", "fadvise64"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"),
    *("mkdir", "mkdirat", "unlink", "unlinkat", "rmdir"),
)

STRING_BYTES_MAX = 1 << 26
"""So many bytes of one write are recorded; a longer one is an error and not a silent cut."""

_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)(.*)", re.DOTALL)
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_UNFINISHED = " <unfinished ...>"


class Inode:
    """A file or a directory, whatever it is called."""

    def __init__(self, *, is_directory: bool) -> None:
        self.is_directory = is_directory


class Write(NamedTuple):
    """``durable`` writes went through an O_DSYNC or O_SYNC descriptor: they are synced when done.

    ``opened`` is when the descriptor was opened, which tells descriptors of one number apart.
    """

    begun: int
    done: int
    inode: Inode
    offset: int
    data: bytes
    durable: bool
    opened: int


class Resize(NamedTuple):
    begun: int
    done: int
    inode: Inode
    size: int


class Entry(NamedTuple):
    """A directory lost the name ``removed``, or got ``added``, or both at once: a rename inside it."""

    begun: int
    done: int
    inode: Inode
    removed: str | None
    added: tuple[str, Inode] | None


class Sync(NamedTuple):
    """``failed`` ones make nothing durable."""

    begun: int
    done: int
    inode: Inode
    opened: int
    failed: bool


class Forgetting(NamedTuple):
    """The kernel was told to drop what it has of the file in memory."""

    begun: int
    inode: Inode


class Line(NamedTuple):
    """A line that the process wrote to its stdout, which began at ``begun``."""

    begun: int
    text: str


@dataclass(slots=True)
class DiskRecording:
    """Changes are in the order in which they were done; the directory was empty before the first."""

    root: Inode = field(default_factory=lambda: Inode(is_directory=True))
    length: int = 0
    changes: list[Write | Resize | Entry] = field(default_factory=list[Write | Resize | Entry])
    syncs: list[Sync] = field(default_factory=list[Sync])
    forgettings: list[Forgetting] = field(default_factory=list[Forgetting])
    lines: list[Line] = field(default_factory=list[Line])


def record(
    module: str, root: Path, trace: Path, *arguments: str, inject: Sequence[str] = ()
) -> DiskRecording:
    """Run ``python -m module root *arguments`` under strace; ``root`` must be an empty directory.

    ``inject`` are strace's own expressions, such as ``fdatasync:error=EIO:when=3``. The record stays
    in the file ``trace`` and can be read again with ``read_recording``.
    """
    strace = shutil.which("strace")
    if strace is None:
        pytest.fail("strace is not installed, and disks are not recorded without: apt-get install strace")
    command = [strace, "-f", "-xx", "-s", str(STRING_BYTES_MAX), "-o", str(trace)]
    command += ["-e", f"trace={','.join('?' + call for call in CALLS)}"]
    command += [part for expression in inject for part in ("-e", f"inject={expression}")]
    command += [sys.executable, "-m", module, str(root), *arguments]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=HANG_SECONDS)
    if "ptrace" in ran.stderr.lower() or "not permitted" in ran.stderr:
        pytest.fail(
            "strace may not trace here. Allow ptrace: SYS_PTRACE for a container, "
            f"kernel.yama.ptrace_scope at most 1 elsewhere. It says: {ran.stderr}"
        )
    assert ran.returncode == 0, ran.stderr
    return read_recording(trace, root)


def read_recording(trace: Path, root: Path) -> DiskRecording:
    reader = _Reader(root)
    with trace.open() as file:
        for number, call in _calls(file):
            reader.take(number, call)
    return reader.recording


class _Call(NamedTuple):
    begun: int
    name: str
    arguments: str
    result: int


class _Descriptor:
    def __init__(self, inode: Inode, opened: int, *, durable: bool, appends: bool) -> None:
        self.inode = inode
        self.opened = opened
        self.durable = durable
        self.appends = appends
        self.offset = 0


def _calls(lines: Iterator[str]) -> Iterator[tuple[int, _Call]]:
    """Join the two halves of calls that other threads' calls came between."""
    halves: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines):
        thread, _, text = line.rstrip("\n").partition(" ")
        text = text.lstrip()
        begun = number
        if text.endswith(_UNFINISHED):
            halves[thread] = number, text.removesuffix(_UNFINISHED)
            continue
        if text.startswith("<... "):
            begun, half = halves.pop(thread)
            text = half + text.partition(" resumed>")[2]
        found = _CALL.fullmatch(text)
        # Signals and exits are lines too; a call without a result ended with its process.
        if found is not None and found[3] != "?":
            yield number, _Call(begun, found[1], found[2], int(found[3]))


class _Reader:
    def __init__(self, root: Path) -> None:
        self.recording = DiskRecording()
        self._root = str(root)
        self._tree: dict[Inode, dict[str, Inode]] = {self.recording.root: {}}
        self._sizes: dict[Inode, int] = {}
        self._open: dict[int, _Descriptor] = {}

    def take(self, done: int, call: _Call) -> None:
        self.recording.length = done + 1
        failed = call.result < 0
        match call.name:
            case "open" | "openat" | "creat" if not failed:
                self._opened(done, call)
            case "close":
                self._closed(call)
            case "lseek" if not failed and (file := self._file(call)):
                file.offset = call.result
            case "write" | "writev" | "pwrite64" | "pwritev" if not failed:
                self._wrote(done, call)
            case "ftruncate" if not failed and (file := self._file(call)):
                self._resize(done, call, file.inode, int(call.arguments.split(", ")[1]))
            case "fsync" | "fdatasync" if file := self._file(call):
                self.recording.syncs.append(Sync(call.begun, done, file.inode, file.opened, failed))
            case "fadvise64" if file := self._file(call):
                if "POSIX_FADV_DONTNEED" in call.arguments:
                    self.recording.forgettings.append(Forgetting(call.begun, file.inode))
            case "rename" | "renameat" | "renameat2" | "mkdir" | "mkdirat" | "unlink" | "unlinkat" | "rmdir":
                if not failed:
                    self._renamed(done, call)
            case _ if not failed and (self._file(call) or self._root in _text(call.arguments)):
                raise AssertionError(f"{call.name} cannot be replayed: {call.arguments[:200]}")
            case _:
                pass

    def _file(self, call: _Call) -> _Descriptor | None:
        descriptor = call.arguments.partition(",")[0]
        return self._open.get(int(descriptor)) if descriptor.isdigit() else None

    def _places(self, call: _Call) -> list[tuple[Inode, str] | None]:
        """Find the directory and name of each path in the call; None is outside of the root."""
        places: list[tuple[Inode, str] | None] = []
        for before, path in zip(_STRING.split(call.arguments)[::3], _strings(call.arguments), strict=False):
            start = re.search(r"(\d+), $", before)
            directory = self._open.get(int(start[1])) if start else None
            places.append(self._place(path.decode(), None if directory is None else directory.inode))
        return places

    def _place(self, path: str, directory: Inode | None) -> tuple[Inode, str] | None:
        if path.startswith(self._root + "/"):
            directory, path = self.recording.root, path[len(self._root) + 1 :]
        if directory is None or path.startswith("/"):
            return None
        *parents, name = path.split("/")
        for parent in parents:
            directory = self._tree[directory][parent]
        return directory, name

    def _opened(self, done: int, call: _Call) -> None:
        [path] = _strings(call.arguments)
        # The number may have been an outside file's that was closed by another thread.
        self._open.pop(call.result, None)
        place = self._places(call)[0]
        if place is None:
            if path.decode() != self._root:
                return
            inode = self.recording.root
        else:
            directory, name = place
            inode = self._tree[directory].get(name)
            if inode is None:
                inode = Inode(is_directory=False)
                self._enter(done, call, directory, None, (name, inode))
            elif "O_TRUNC" in call.arguments:
                self._resize(done, call, inode, 0)
        durable = bool(re.search(r"\bO_D?SYNC\b", call.arguments))
        self._open[call.result] = _Descriptor(
            inode, done, durable=durable, appends="O_APPEND" in call.arguments
        )

    def _closed(self, call: _Call) -> None:
        # Another thread may be given the number, and say so, before the closing call says that it ended.
        number = int(call.arguments)
        if number in self._open and self._open[number].opened < call.begun:
            del self._open[number]

    def _wrote(self, done: int, call: _Call) -> None:
        descriptor = int(call.arguments.partition(",")[0])
        if descriptor == 1:
            text = b"".join(_strings(call.arguments)).decode()
            self.recording.lines += [Line(call.begun, line) for line in text.splitlines()]
        file = self._open.get(descriptor)
        if file is None:
            return
        data = b"".join(_strings(call.arguments))[: call.result]
        assert len(data) == call.result, f"the record of a {call.name} was cut"
        if call.name.startswith("p"):
            offset = int(call.arguments.rpartition(", ")[2])
        else:
            offset = self._sizes.get(file.inode, 0) if file.appends else file.offset
            file.offset = offset + len(data)
        self._sizes[file.inode] = max(self._sizes.get(file.inode, 0), offset + len(data))
        self.recording.changes.append(
            Write(call.begun, done, file.inode, offset, data, file.durable, file.opened)
        )

    def _resize(self, done: int, call: _Call, inode: Inode, size: int) -> None:
        self._sizes[inode] = size
        self.recording.changes.append(Resize(call.begun, done, inode, size))

    def _renamed(self, done: int, call: _Call) -> None:
        places = self._places(call)
        if all(place is None for place in places):
            return
        first, *rest = places
        assert first is not None, call
        directory, name = first
        if call.name.startswith("mkdir"):
            made = Inode(is_directory=True)
            self._tree[made] = {}
            self._enter(done, call, directory, None, (name, made))
        elif rest:
            assert rest[0] is not None, call
            # One change is atomic inside one directory only, and nothing here renames across two.
            assert rest[0][0] is directory, f"a rename across directories cannot be replayed: {call}"
            self._enter(done, call, directory, name, (rest[0][1], self._tree[directory][name]))
        else:
            self._enter(done, call, directory, name, None)

    def _enter(
        self, done: int, call: _Call, directory: Inode, removed: str | None, added: tuple[str, Inode] | None
    ) -> None:
        names = self._tree[directory]
        if removed is not None:
            del names[removed]
        if added is not None:
            names[added[0]] = added[1]
        self.recording.changes.append(Entry(call.begun, done, directory, removed, added))


def _strings(arguments: str) -> list[bytes]:
    found = _STRING.findall(arguments)
    assert not any(cut for _, cut in found), f"a string was cut at {STRING_BYTES_MAX} bytes"
    return [bytes.fromhex(text.replace("\\x", "")) for text, _ in found]


def _text(arguments: str) -> str:
    return os.fsdecode(b" ".join(_strings(arguments)))
