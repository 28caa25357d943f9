"""A network of machines that are namespaces of this one, whose links may be cut, slow, or lose packets.

Each machine has a TAP device in a network namespace of its own, and this process is the switch between them:
what one sends is read, held back or dropped, and written to the others. That takes root, iproute2 and
``/dev/net/tun``, but neither bridges nor the kernel's netem, which many kernels of virtual machines lack.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import os
import random
import shutil
import struct
import subprocess
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

TUN = Path("/dev/net/tun")
NAMESPACES = Path("/run/netns")
DEVICE = "machine"
FRAME_BYTES_MAX = 65536
SUBNET = "10.213.113"

_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_CLONE_NEWNET = 0x40000000


def why_not() -> str | None:
    """Return why there can be no such network here; None if there can."""
    if os.geteuid() != 0:
        return "namespaces take root"
    if shutil.which("ip") is None:
        return "there is no `ip` (iproute2)"
    if not TUN.exists():
        return f"there is no {TUN}"
    name = f"populace-{os.getpid()}"
    try:
        _ip("netns", "add", name)
        _ip("netns", "del", name)
    except subprocess.CalledProcessError as error:
        return f"`ip netns add` is refused: {error.stderr.strip()}"
    return None


class Network:
    """Use ``network``. Its methods may be called from any thread."""

    def __init__(self, prefix: str, names: Sequence[str]) -> None:
        self._prefix = prefix
        self._numbers = {name: number for number, name in enumerate(names, start=1)}
        self._devices: dict[str, int] = {}
        self._cut: frozenset[str] = frozenset()
        self._loop = asyncio.new_event_loop()
        self._random = random.Random(1)  # noqa: S311 - it drops packets
        self.delay_s = 0.0
        """How long each packet is held back."""

        self.loss = 0.0
        """The share of packets that is dropped, from 0 to 1."""

    def address(self, name: str) -> str:
        return f"{SUBNET}.{self._numbers[name]}"

    def command(self, name: str, *words: str) -> list[str]:
        """Return the command that runs a program on a machine."""
        return ["ip", "netns", "exec", self._namespace(name), *words]

    def cut(self, *names: str) -> None:
        """Cut these machines, which still reach each other, off from all others; of none: nothing is cut."""
        self._cut = frozenset(names)

    def _namespace(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def add(self, name: str, stack: ExitStack) -> None:
        namespace = self._namespace(name)
        _ip("netns", "add", namespace)
        stack.callback(_ip, "netns", "del", namespace)
        device = _tap_in(NAMESPACES / namespace)
        stack.callback(os.close, device)
        _ip("-n", namespace, "address", "add", f"{self.address(name)}/24", "dev", DEVICE)
        for link in ("lo", DEVICE):
            _ip("-n", namespace, "link", "set", link, "up")
        self._devices[name] = device

    def run(self) -> None:
        asyncio.set_event_loop(self._loop)
        for name, device in self._devices.items():
            self._loop.add_reader(device, self._forward, name, device)
        self._loop.run_forever()
        self._loop.close()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _forward(self, sender: str, device: int) -> None:
        with contextlib.suppress(BlockingIOError):
            frame = os.read(device, FRAME_BYTES_MAX)
            if self._random.random() < self.loss:
                return
            if self.delay_s:
                self._loop.call_later(self.delay_s, self._deliver, sender, frame)
            else:
                self._deliver(sender, frame)

    def _deliver(self, sender: str, frame: bytes) -> None:
        for name, device in self._devices.items():
            if name != sender and (name in self._cut) == (sender in self._cut):
                # A full device drops it, as a switch does.
                with contextlib.suppress(BlockingIOError):
                    os.write(device, frame)


@contextmanager
def network(names: Sequence[str]) -> Generator[Network]:
    """Connect machines of these names during the block. Raises ``CalledProcessError`` and ``OSError``."""
    made = Network(f"populace-{os.getpid()}", names)
    with ExitStack() as stack:
        for name in names:
            made.add(name, stack)
        switch = threading.Thread(target=made.run, name="switch", daemon=True)
        switch.start()
        try:
            yield made
        finally:
            made.end()
            switch.join()


def _tap_in(namespace: Path) -> int:
    """Make a TAP device in a namespace and return its descriptor, which may be used from any other."""
    # A device belongs to the namespace of the thread that opens it, and that thread stays there.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_open_tap, namespace).result()


def _open_tap(namespace: Path) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    place = os.open(namespace, os.O_RDONLY)
    try:
        if libc.setns(place, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"{namespace} cannot be entered")
    finally:
        os.close(place)
    device = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    request = struct.pack("16sH14x", DEVICE.encode(), _IFF_TAP | _IFF_NO_PI)
    fcntl.ioctl(device, _TUNSETIFF, request)
    return device


def _ip(*words: str) -> None:
    command = shutil.which("ip") or "ip"
    subprocess.run([command, *words], check=True, capture_output=True, text=True)
