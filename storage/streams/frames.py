"""Files of frames: msgpack arrays that begin with their kind, one after the other.

A file that was cut between two frames reads like a whole one, so each format has a last frame.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgpack

from populace.storage.records.errors import StorageError

FRAME_BYTES_MAX = 4 * 2**20

Frame = tuple[object, ...]

_msgpack: Any = msgpack  # it ships no types


class FrameWriter:
    """Writes frames to an open file. Failures raise ``OSError``."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, *frame: str | bytes | int) -> None:
        data = pack(*frame)
        assert len(data) <= FRAME_BYTES_MAX, len(data)
        self._digest.update(data)
        self._file.write(data)

    def digest(self) -> bytes:
        """Return the SHA-256 of all that was written."""
        return self._digest.digest()

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


@contextlib.contextmanager
def writing(path: Path) -> Generator[FrameWriter]:
    """Write a new file; its content is durable at the end of the block. See also ``sync_directory``."""
    with path.open("xb") as file:
        writer = FrameWriter(file)
        yield writer
        writer.sync()


def pack(*frame: str | bytes | int) -> bytes:
    data: bytes = _msgpack.packb(frame, use_bin_type=True)
    return data


def read_frames(path: Path, refused: Callable[[str, str], StorageError]) -> Iterator[Frame]:
    """Read a file frame by frame. Raises what ``refused`` makes of the path and a reason."""
    try:
        with path.open("rb") as file:
            unpacker = _msgpack.Unpacker(file, use_list=False, max_buffer_size=FRAME_BYTES_MAX)
            for frame in unpacker:
                if not isinstance(frame, tuple):
                    raise refused(str(path), "it is damaged: there is something other than frames in it")
                yield frame
            # The unpacker treats a frame that was cut as the end.
            if unpacker.tell() != file.tell():
                raise refused(str(path), "it is damaged: it ends within a frame")
    except OSError as error:
        raise refused(str(path), f"it cannot be read: {error.strerror}") from error
    except (ValueError, msgpack.UnpackException) as error:
        raise refused(str(path), f"it is damaged: {error}") from error
