"""``/console``: the page and its files. They need no key: who signs in on the page has one."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from populace.gateway.console.files import ConsoleFile, console_files
from populace.gateway.http.needs import keyless

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
