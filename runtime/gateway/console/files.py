"""The console's files, read once, with the name of their version and a shorter form for the way."""

import gzip
import hashlib
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Files of other types, such as the libraries' licences, are for who reads the code and not served."""

INDEX = "index.html"
VERSION_MARK = b"{version}"
VERSION_DIGITS = 16


class ConsoleFile(NamedTuple):
    """A file as it is served; ``packed`` is its content in gzip."""

    content: bytes
    packed: bytes
    media_type: str


class ConsoleFiles(NamedTuple):
    """The page and all that it loads. ``version`` is a digest of the files, which their addresses have."""

    version: str
    page: ConsoleFile
    files: dict[str, ConsoleFile]


@cache
def console_files() -> ConsoleFiles:
    """Read the installed files."""
    read = dict(sorted(_files_in(resources.files("populace.gateway.console").joinpath("static"), "")))
    digest = hashlib.sha256()
    for path, content in read.items():
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    version = digest.hexdigest()[:VERSION_DIGITS]
    page = read.pop(INDEX).replace(VERSION_MARK, version.encode())
    served = {path: _served(path, content) for path, content in read.items()}
    return ConsoleFiles(version, _served(INDEX, page), served)


def _files_in(folder: Traversable, under: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _files_in(entry, f"{under}{entry.name}/")
        elif _suffix(entry.name) in MEDIA_TYPES:
            found.append((under + entry.name, entry.read_bytes()))
    return found


def _served(path: str, content: bytes) -> ConsoleFile:
    # Without a time in it the packed form is the same in every gateway.
    return ConsoleFile(content, gzip.compress(content, 9, mtime=0), MEDIA_TYPES[_suffix(path)])


def _suffix(path: str) -> str:
    return "." + path.rpartition(".")[2]
