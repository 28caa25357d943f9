"""Finds the size of a zip file's directory before the standard library reads it whole.

``zipfile`` makes an object of every entry at once, ten times the size of what the entry takes in the
file: a file of a gigabyte with nothing but entries would take ten of memory.
"""

import struct
from typing import BinaryIO, NamedTuple

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")


class ZipDirectory(NamedTuple):
    entries: int
    size: int


def zip_directory(file: BinaryIO) -> ZipDirectory:
    """Read the size and place of the directory from the end of the file.

    Raises ``ValueError`` for a file that is no zip, was cut off, or ends in anything else.
    """
    end_at = file.seek(0, 2) - _END.size
    signature, *_, entries, size, _, comment = _END.unpack(_read(file, end_at, _END.size))
    if signature != b"PK\5\6" or comment != 0:
        raise ValueError("it is not a zip file, or was cut off")
    locator_at = end_at - _LOCATOR.size
    if locator_at < _END_64.size:
        return ZipDirectory(entries, size)
    signature, _, record_at, _ = _LOCATOR.unpack(_read(file, locator_at, _LOCATOR.size))
    if signature != b"PK\6\7":
        return ZipDirectory(entries, size)
    # A large archive. Its record is read only where our writer puts it, as zipfile does.
    signature, *_, entries, size, _ = _END_64.unpack(_read(file, locator_at - _END_64.size, _END_64.size))
    if signature != b"PK\6\6" or record_at != locator_at - _END_64.size:
        raise ValueError("its zip64 record is not where it belongs")
    return ZipDirectory(entries, size)


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    if at < 0:
        raise ValueError("it is not a zip file, or was cut off")
    file.seek(at)
    return file.read(size)
