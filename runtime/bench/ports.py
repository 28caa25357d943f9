"""Free ports for servers that a bench or a test starts."""

import socket


def free_port() -> int:
    """Ask the system for a loopback port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
