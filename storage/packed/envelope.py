"""The envelope before a packed adapter's header, whose digest covers all of the file.

::

    b"PopLoRA"     7 bytes
    format         1 byte
    digest        32 bytes   SHA-256 of everything that follows

The first eight bytes have one value in each release, and the digest covers what is behind it. So two files
of one digest and one format are the same, byte for byte, and the digest names the file.
"""

import hashlib
from typing import BinaryIO

from populace.storage.packed.errors import PackedAdapterInvalid, PackedAdapterVersionMismatch

FORMAT = 1
MAGIC = b"PopLoRA"
BYTES_MAX = 4 * 1024**3
DIGEST_AT = len(MAGIC) + 1
CONTENT_AT = DIGEST_AT + 32

_CHUNK_BYTES = 1 << 20


def told_digest(beginning: bytes) -> str:
    """Return the digest in the first ``CONTENT_AT`` bytes, without comparing it with the content.

    Raises ``PackedAdapterInvalid`` and ``PackedAdapterVersionMismatch``.
    """
    if len(beginning) < CONTENT_AT or beginning[: len(MAGIC)] != MAGIC:
        raise PackedAdapterInvalid("it does not begin as one")
    stored = beginning[len(MAGIC)]
    if stored > FORMAT:
        raise PackedAdapterVersionMismatch(stored, FORMAT)
    if stored < 1:
        raise PackedAdapterInvalid(f"there is no format {stored}")
    return beginning[DIGEST_AT:CONTENT_AT].hex()


def check_content(digest: str, found: str) -> None:
    """Raise ``PackedAdapterInvalid`` unless ``found``, the content's digest, is ``digest``."""
    if found != digest:
        raise PackedAdapterInvalid("its bytes are not those that its digest was made of")


def file_digest(file: BinaryIO) -> tuple[str, int]:
    """Read a whole file that is open at its beginning; return its digest, and its size in bytes.

    Raises ``PackedAdapterInvalid`` and ``PackedAdapterVersionMismatch``.
    """
    digest = told_digest(file.read(CONTENT_AT))
    content, size = hashlib.sha256(), CONTENT_AT
    while chunk := file.read(_CHUNK_BYTES):
        content.update(chunk)
        size += len(chunk)
    check_content(digest, content.hexdigest())
    return digest, size
