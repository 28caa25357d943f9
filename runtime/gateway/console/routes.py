"""``/console``: the page and its files. They need no key: who signs in on the page has one."""

import gzip
import hashlib
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from populace.gateway.http.needs import keyless

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


router = APIRouter(include_in_schema=False)

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Nothing but the console's own files runs, nothing is sent anywhere else, and no text becomes markup."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept-Encoding",
}

AGAIN_EACH_TIME = "no-cache"
FOR_EVER = "public, max-age=31536000, immutable"
"""A file's address has the version of all of them, so what was loaded from one never changes."""


@router.head("/console")
@router.get("/console")
@router.get("/console/")
@keyless
async def show_page(request: Request) -> Response:
    """Return the page; a browser that has this version already gets a 304."""
    files = console_files()
    tag = f'"{files.version}"'
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=HEADERS | {"ETag": tag, "Cache-Control": AGAIN_EACH_TIME})
    return _answer(request, files.page, {"ETag": tag, "Cache-Control": AGAIN_EACH_TIME})


@router.get("/console/static/{version}/{path:path}")
@keyless
async def show_file(request: Request, version: str, path: str) -> Response:
    """Return a file of this version; one of another version is not here, and its page says to load again."""
    files = console_files()
    found = files.files.get(path)
    if version != files.version or found is None:
        raise HTTPException(404)
    return _answer(request, found, {"Cache-Control": FOR_EVER})


def _answer(request: Request, file: ConsoleFile, headers: dict[str, str]) -> Response:
    headers = HEADERS | headers
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(file.content, media_type=file.media_type, headers=headers)
    headers["Content-Encoding"] = "gzip"
    return Response(file.packed, media_type=file.media_type, headers=headers)
