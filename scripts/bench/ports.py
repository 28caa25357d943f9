"""Free ports for servers that a bench or a test starts."""

import socket


def free_port() -> int:
    """Return a loopback port that no process listens on now; another process may take it at any time."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
