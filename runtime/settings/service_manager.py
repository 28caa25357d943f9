"""Tells the service manager that started this process how it is, by systemd's protocol: a datagram each time.

Without one, or with one that does not listen any more, telling changes nothing.
"""

import os
import socket
from typing import Self

ADDRESS = "NOTIFY_SOCKET"


class ServiceManager:
    """The manager at an address: a path of a socket, or a name of Linux' own after ``@``."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the one that the environment names, which the processes started from here on do not have."""
        return cls(os.environ.pop(ADDRESS, None))

    def ready(self, status: str) -> None:
        """Say that this process serves. ``status`` is a line for people."""
        self._tell("READY=1", f"STATUS={status}")

    def stopping(self, status: str) -> None:
        self._tell("STOPPING=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        self._tell(f"STATUS={status}")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        text = "\n".join(" ".join(line.splitlines()) for line in lines)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_manager:
                to_manager.setblocking(False)
                to_manager.sendto(text.encode(), address)
        except OSError:
            return
