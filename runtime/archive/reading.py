"""Reads an untrusted archive: it is whole, sound and bounded, or it is ``ArchiveInvalid``.

The sizes that the file declares are added up before anything is unpacked, and no member yields more than
its own. Every member is digested while it is read, and one whose digest is not the manifest's is refused
at its end: until then nothing that was read may be used.
"""

import contextlib
import hashlib
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO

from populace.archive.layout import (
    ALWAYS,
    MANIFEST,
    MANIFEST_BYTES_MAX,
    MEMBERS_MAX,
    Manifest,
    Member,
    adapter_file,
    digest_of_member,
    is_member,
)
from populace.archive.record_lines import LINE_BYTES_MAX
from populace.archive.zip_directory import zip_directory
from populace.storage.records.errors import ArchiveInvalid
from populace.storage.revisions import CONFIG_FILE, TENSORS_FILE

CHUNK_BYTES = 1 << 20
DIRECTORY_BYTES_MAX = 2 * 2**20
"""Largest directory of an archive: ``MEMBERS_MAX`` members of 175 bytes each."""

NOT_READABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,  # an unknown compression
    RuntimeError,  # an encrypted member
    ValueError,
    OverflowError,
    OSError,
)
"""Errors that zipfile raises for a file that is not whole; also those of a disk that fails."""


class ArchiveReader:
    """An open archive whose directory and manifest agree; the members are checked as they are read."""

    def __init__(self, archive: zipfile.ZipFile, label: str, manifest: Manifest) -> None:
        """Use ``open_archive``."""
        self.manifest = manifest
        self.label = label
        self._archive = archive

    def has(self, name: str) -> bool:
        return name in self.manifest.members

    @property
    def digests(self) -> frozenset[str]:
        """The digests of the revisions whose adapters it holds."""
        found = (digest_of_member(name) for name in self.manifest.members)
        return frozenset(digest for digest in found if digest is not None)

    def read(self, name: str) -> bytes:
        return b"".join(self._chunks(name))

    def lines(self, name: str) -> Iterator[bytes]:
        """Walk the lines, without their ends."""
        parts: list[bytes] = []
        for chunk in self._chunks(name):
            first, *others = chunk.split(b"\n")
            parts.append(first)
            if sum(map(len, parts)) > LINE_BYTES_MAX:
                raise self.refusal(f"a line of {name} is longer than {LINE_BYTES_MAX} bytes")
            if others:
                yield b"".join(parts)
                yield from others[:-1]
                parts = others[-1:]
        if any(parts):
            raise self.refusal(f"{name} ends in the middle of a line")

    def copy(self, name: str, path: Path) -> None:
        """Copy the member to a new file."""
        with path.open("xb") as file:
            for chunk in self._chunks(name):
                file.write(chunk)

    def refusal(self, reason: str) -> ArchiveInvalid:
        return ArchiveInvalid(self.label, reason)

    def _chunks(self, name: str) -> Generator[bytes]:
        member, digest, size = self.manifest.members[name], hashlib.sha256(), 0
        with _readable(self.label, name):
            opened = self._archive.open(name)
        with opened:
            while True:
                with _readable(self.label, name):
                    chunk = opened.read(CHUNK_BYTES)
                if not chunk:
                    break
                digest.update(chunk)
                size += len(chunk)
                yield chunk
        if (size, digest.hexdigest()) != (member.bytes, member.sha256):
            raise self.refusal(f"{name} is not what {MANIFEST} says")


@contextlib.contextmanager
def open_archive(file: BinaryIO, label: str, *, bytes_max: int) -> Generator[ArchiveReader]:
    """Open an archive that unpacks to at most ``bytes_max`` bytes; ``label`` names it in errors.

    Raises ``ArchiveInvalid``, as the reader's methods do.
    """
    with _readable(label, "the file"):
        directory = zip_directory(file)
        if directory.entries > MEMBERS_MAX or directory.size > DIRECTORY_BYTES_MAX:
            raise ValueError(f"it holds more than {MEMBERS_MAX} files")
        file.seek(0)
        archive = zipfile.ZipFile(file)
    with archive:
        members = _members(archive, label, bytes_max)
        if members[MANIFEST] > MANIFEST_BYTES_MAX:
            raise ArchiveInvalid(label, f"{MANIFEST} is larger than {MANIFEST_BYTES_MAX} bytes")
        with _readable(label, MANIFEST):
            manifest = Manifest.parse(archive.read(MANIFEST))
        _check_members(label, members, manifest.members)
        yield ArchiveReader(archive, label, manifest)


@contextlib.contextmanager
def open_archive_file(path: Path, *, bytes_max: int) -> Generator[ArchiveReader]:
    """Open the archive at ``path``. Raises ``ArchiveInvalid``, also if there is no file."""
    with _readable(str(path), "the file"):
        file = path.open("rb")
    with file, open_archive(file, path.name, bytes_max=bytes_max) as archive:
        yield archive


def _members(archive: zipfile.ZipFile, label: str, bytes_max: int) -> dict[str, int]:
    """Return the size of each file in the archive. Raises ``ArchiveInvalid`` if one is not allowed."""
    members: dict[str, int] = {}
    for entry in archive.infolist():
        if not is_member(entry.filename):
            raise ArchiveInvalid(label, f"it holds {entry.filename[:80]!r}, which is no part of a model")
        if entry.filename in members:
            raise ArchiveInvalid(label, f"it holds {entry.filename} twice")
        # The other compressions use as much memory as the file says, up to 4 GiB.
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArchiveInvalid(label, f"{entry.filename} is packed in another way than deflate")
        members[entry.filename] = entry.file_size
    if MANIFEST not in members:
        raise ArchiveInvalid(label, f"it has no {MANIFEST}")
    if sum(members.values()) > bytes_max:
        raise ArchiveInvalid(label, f"it unpacks to {sum(members.values())} bytes; {bytes_max} are allowed")
    return members


def _check_members(label: str, found: dict[str, int], named: dict[str, Member]) -> None:
    for name in sorted({*named, *found} - {MANIFEST}):
        if name not in found:
            raise ArchiveInvalid(label, f"{name[:120]} is missing")
        if name not in named:
            raise ArchiveInvalid(label, f"{name} is not in {MANIFEST}")
        if found[name] != named[name].bytes:
            raise ArchiveInvalid(label, f"{name} has {found[name]} bytes and not {named[name].bytes}")
    digests = {digest for name in named if (digest := digest_of_member(name)) is not None}
    needed = ALWAYS | {
        adapter_file(digest, part) for digest in digests for part in (CONFIG_FILE, TENSORS_FILE)
    }
    for name in sorted(needed - set(named)):
        raise ArchiveInvalid(label, f"{name} is missing")


@contextlib.contextmanager
def _readable(label: str, part: str) -> Generator[None]:
    try:
        yield
    except NOT_READABLE as error:
        reason = str(error) if isinstance(error, ValueError) else f"{part} cannot be read ({error})"
        raise ArchiveInvalid(label, reason) from error
