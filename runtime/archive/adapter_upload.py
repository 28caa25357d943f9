"""An uploaded adapter: a zip of PEFT's two files, or one packed file. It is untrusted.

The sizes that a zip declares are added up before anything is unpacked, and only the two files are unpacked,
under names of ours. Links, pickles and paths that leave their folder are refused by name. The contents of the
two files are checked by ``adapter_work``, in a process of its own.
"""

import shutil
import stat
import zipfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from populace.actors.errors import AdapterInvalid
from populace.actors.hosts import Revision
from populace.archive.adapter_work import DoWork, Importing, made_by
from populace.archive.reading import CHUNK_BYTES, NOT_READABLE
from populace.archive.zip_directory import zip_directory
from populace.storage.adapter_store import AdapterStore
from populace.storage.packed.envelope import MAGIC
from populace.storage.records.files import disk_named
from populace.storage.revisions import CONFIG_FILE, SUFFIX, TENSORS_FILE

ENTRIES_MAX = 1000
DIRECTORY_BYTES_MAX = 512 * 1024
"""Largest directory of a zip: ``ENTRIES_MAX`` entries of 500 bytes each."""

PARTS = (CONFIG_FILE, TENSORS_FILE)
PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
MAC_FOLDER = "__MACOSX"
"""The folder that macOS adds to a zip, with a companion of each file."""


@contextmanager
def uploaded_revision(
    file: BinaryIO, store: AdapterStore, *, bytes_max: int, now_ms: int, do_work: DoWork
) -> Generator[Revision]:
    """Unpack, check, pack and store an upload; yields it as a revision.

    It is protected from removal during the block, in which it must be registered with a model. Raises
    ``AdapterInvalid``, ``AdapterMismatch`` and ``DiskRefused``; nothing is stored then. Blocks.
    """
    adapters = store.files()
    with adapters.adding():
        with adapters.incoming() as folder:
            with disk_named(folder):
                adapter = unpack_upload(file, folder, bytes_max=bytes_max)
            made = made_by(do_work, Importing(store=store, adapter=adapter, now_ms=now_ms))
        yield made.revision


def unpack_upload(file: BinaryIO, folder: Path, *, bytes_max: int) -> Path:
    """Unpack to at most ``bytes_max`` bytes; returns a PEFT directory or a packed file in ``folder``.

    Raises ``AdapterInvalid``, and ``OSError`` if the disk refuses.
    """
    file.seek(0)
    beginning = file.read(len(MAGIC))
    file.seek(0)
    if beginning == MAGIC:
        packed = folder / f"upload{SUFFIX}"
        with packed.open("xb") as copy:
            shutil.copyfileobj(file, copy, CHUNK_BYTES)
        return packed
    if not beginning.startswith(b"PK"):
        raise AdapterInvalid("the body is neither a zip file of an adapter's directory nor a packed adapter")
    with _readable("the zip file"):
        directory = zip_directory(file)
        if directory.entries > ENTRIES_MAX or directory.size > DIRECTORY_BYTES_MAX:
            raise ValueError(f"the zip file holds more than {ENTRIES_MAX} files")
        file.seek(0)
        archive = zipfile.ZipFile(file)
    with archive:
        for entry in _parts(archive.infolist(), bytes_max):
            with (folder / PurePosixPath(entry.filename).name).open("xb") as part:
                for chunk in _chunks(archive, entry):
                    part.write(chunk)
    return folder


def _parts(entries: Sequence[zipfile.ZipInfo], bytes_max: int) -> list[zipfile.ZipInfo]:
    """Find the adapter's two files among the entries, if all entries are allowed."""
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > bytes_max:
        raise AdapterInvalid(f"the zip file unpacks to {unpacked} bytes; {bytes_max} are allowed")
    folders: dict[PurePosixPath, dict[str, zipfile.ZipInfo]] = {}
    for entry in entries:
        _check_entry(entry)
        path = PurePosixPath(entry.filename)
        is_near = len(path.parts) <= 2 and path.parent.name != MAC_FOLDER
        if path.name not in PARTS or entry.is_dir() or not is_near:
            continue
        if folders.setdefault(path.parent, {}).setdefault(path.name, entry) is not entry:
            raise AdapterInvalid(f"the zip file holds {path} twice")
    if len(folders) > 1:
        raise AdapterInvalid(f"the zip file holds adapters in {len(folders)} folders, and one is published")
    found = {name: entry for folder in folders.values() for name, entry in folder.items()}
    for name in PARTS:
        if name not in found:
            raise AdapterInvalid(f"the zip file has no {name} at its root or in one folder")
        # Other methods unpack with as much memory as the file says, up to 4 GiB.
        if found[name].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise AdapterInvalid(f"{name} is packed in another way than deflate")
    return [found[name] for name in PARTS]


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    path, told = PurePosixPath(name), repr(name[:120])
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise AdapterInvalid(f"the zip file holds {told}, a path that leaves its folder")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "no plain file"
        raise AdapterInvalid(f"the zip file holds {told}, which is {what}")
    if path.suffix.lower() in PICKLES:
        raise AdapterInvalid(
            f"the zip file holds {told}, which may be a pickle: leave it out, weights are safetensors here"
        )


def _chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    with _readable(entry.filename[:120]):
        opened = archive.open(entry)
    with opened:
        while True:
            with _readable(entry.filename[:120]):
                chunk = opened.read(CHUNK_BYTES)
            if not chunk:
                return
            yield chunk


@contextmanager
def _readable(part: str) -> Generator[None]:
    try:
        yield
    except NOT_READABLE as error:
        reason = str(error) if isinstance(error, ValueError) else f"{part} cannot be read ({error})"
        raise AdapterInvalid(reason) from error
