"""Takes in uploaded files and reads them, without holding up the other requests."""

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import BinaryIO, TypeVar

from populace.actors.errors import RequestTooLarge
from populace.archive.reading import CHUNK_BYTES
from populace.gateway.http.file_work import FileWork, HeldFile
from populace.storage.uploads.upload_files import Upload, UploadFiles

T = TypeVar("T")

ABANDONED_MS = 24 * 3600 * 1000
"""No upload takes so long: what lies without a record since then was left by a process that died."""

SWEEP_EVERY_MS = 3600 * 1000
"""A sweep reads the records of all tenants."""


class UploadService:
    """The uploaded files of one gateway. A file has at most ``bytes_max`` bytes.

    All files of a tenant together have at most ``tenant_bytes_max``.
    """

    def __init__(self, files: UploadFiles, work: FileWork, *, bytes_max: int, tenant_bytes_max: int) -> None:
        self.files = files
        self.bytes_max = bytes_max
        self._tenant_bytes_max = tenant_bytes_max
        self._work = work
        self._sweep_ms = 0

    def hold(self, tenant: str) -> HeldFile:
        """Give the tenant the right to upload a file. Raises ``Refused`` while it works on another."""
        return self._work.hold(tenant)

    async def add(
        self,
        tenant: str,
        held: HeldFile,
        content: BinaryIO,
        *,
        filename: str,
        purpose: str,
        seconds_kept: int | None,
    ) -> Upload:
        """Keep what ``content`` holds. Raises ``RequestTooLarge``, and as ``UploadFiles.add``."""

        def keep() -> Upload:
            if content.seek(0, 2) > self.bytes_max:
                raise RequestTooLarge(self.bytes_max)
            content.seek(0)
            now_ms = _now_ms()
            if now_ms >= self._sweep_ms:
                self._sweep_ms = now_ms + SWEEP_EVERY_MS
                self.files.sweep(now_ms, older_than_ms=now_ms - ABANDONED_MS)
            return self.files.add(
                tenant,
                iter(partial(content.read, CHUNK_BYTES), b""),
                filename=filename,
                purpose=purpose,
                now_ms=now_ms,
                seconds_kept=seconds_kept,
                bytes_max=self._tenant_bytes_max,
            )

        return await self._work.apart(keep, held)

    async def of_tenant(self, tenant: str) -> list[Upload]:
        return await asyncio.to_thread(self.files.of_tenant, tenant, _now_ms())

    async def find(self, tenant: str, file_id: str) -> Upload:
        """Raises ``UploadNotFound``."""
        return await asyncio.to_thread(self.files.find, tenant, file_id, _now_ms())

    async def read(self, tenant: str, file_id: str) -> tuple[Upload, Iterator[bytes]]:
        """Return a file and its content, which is read on the thread that iterates. Raises as ``find``."""
        upload = await self.find(tenant, file_id)
        content = await asyncio.to_thread(self.files.read, tenant, file_id, _now_ms())
        # The first piece is read before a status is sent: the file may be deleted meanwhile.
        first = await asyncio.to_thread(next, content, b"")
        return upload, chain((first,), content)

    async def apart(self, tenant: str, work: Callable[[Iterator[bytes]], T], file_id: str) -> T:
        """Do work on the content of a file, on a thread. Raises as ``find``, and what ``work`` raises."""
        await self.find(tenant, file_id)
        return await self._work.alone(lambda: work(self.files.read(tenant, file_id, _now_ms())), tenant)

    async def remove(self, tenant: str, file_id: str) -> None:
        """Raises ``UploadNotFound``."""
        await asyncio.to_thread(self.files.remove, tenant, file_id)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
