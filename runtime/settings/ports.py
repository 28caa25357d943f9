"""The interface and the ports at which the processes of a Populace listen for each other."""

import errno
import os
from collections.abc import Callable
from typing import TypeVar

VARIABLE = "POPULACE_STREAM_PORTS"
"""The variable of the setting, which every process of a Populace has in its environment."""

ONE_MACHINE_VARIABLE = "POPULACE_ONE_MACHINE"
"""Set to 1 in every process of a Populace that no other machine may join."""

LOOPBACK = "127.0.0.1"

T = TypeVar("T")


def ports_in(text: str) -> range:
    """Return the ports of ``FIRST-LAST``, both included; raises ``ValueError``."""
    first, dash, last = text.partition("-")
    if not (dash and first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        raise ValueError("it is FIRST-LAST, like 7100-7163")
    ports = range(int(first), int(last) + 1)
    if not ports or not 1024 <= ports.start <= ports.stop - 1 <= 65535:
        raise ValueError("it is FIRST-LAST, like 7100-7163, from 1024 to 65535")
    return ports


def own_interface(node_address: Callable[[], str]) -> str:
    """Return the address at which this process listens for others: this machine's alone, if it is alone."""
    return LOOPBACK if is_one_machine() else node_address()


def is_one_machine() -> bool:
    """Return whether this process is of a Populace that no other machine may join."""
    return os.environ.get(ONE_MACHINE_VARIABLE) == "1"


def stream_ports() -> range | None:
    """Return the ports that this process may listen on for others, None for any; raises ``ValueError``."""
    text = os.environ.get(VARIABLE)
    return ports_in(text) if text else None


def bind_first(ports: range, bind: Callable[[int], T]) -> T:
    """Return what ``bind`` returns for the first port that is free.

    Raises ``OSError``: its own unless the port is taken; with the variable's name if all are.
    """
    for port in ports:
        try:
            return bind(port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    taken = f"all ports of {VARIABLE}={ports.start}-{ports.stop - 1} are taken on this node; name more"
    raise OSError(errno.EADDRINUSE, taken)
