"""The address that a Populace listens at."""

import socket
import time
from collections.abc import Callable

import psutil

from populace.settings.running import read_note
from populace.settings.settings import Settings, SettingsError

Report = Callable[[str], None]

PORT_SECONDS_MAX = 30.0
"""How long the processes of a Populace that was killed may take to end."""
POLL_SECONDS = 0.2


def wait_for_port(settings: Settings, report: Report, *, seconds_max: float = PORT_SECONDS_MAX) -> None:
    """Raise ``SettingsError`` if the port, or that of the metrics, cannot be listened on.

    If this data directory's last Populace was killed, its gateway listens until Ray has noticed: that is
    waited for, at most ``seconds_max``.
    """
    note = read_note(settings.data)
    was_ours = note is not None and note.url == http_url(settings) and not psutil.pid_exists(note.pid)
    give_up = time.monotonic() + (seconds_max if was_ours else 0.0)
    is_reported = False
    while True:
        try:
            check_port("POPULACE_PORT", settings.host, settings.port)
            return check_metrics_port(settings)
        except SettingsError:
            if time.monotonic() >= give_up:
                raise
        if not is_reported:
            report("Waiting for the Populace that was killed to leave the port")
            is_reported = True
        time.sleep(POLL_SECONDS)


def check_metrics_port(settings: Settings) -> None:
    """Raise ``SettingsError`` if the metrics have a port that cannot be listened on."""
    port = settings.metrics_port
    if port is None:
        return
    if port == settings.port:  # both listeners could have it, and each would get some of the requests
        allowed = "it has to be another port than POPULACE_PORT"
        raise SettingsError("POPULACE_METRICS_PORT", str(port), allowed)
    check_port("POPULACE_METRICS_PORT", settings.metrics_host, port)


def check_port(variable: str, host: str, port: int) -> None:
    """Raise ``SettingsError``, which names the variable, if the port cannot be listened on."""
    try:
        try_port(host, port)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        other = "choose another with --port" if variable == "POPULACE_PORT" else "choose another"
        allowed = f"{reason}; stop the program that uses it or {other}"
        raise SettingsError(variable, str(port), allowed) from None


def try_port(host: str, port: int) -> None:
    """Bind the port for a moment; raises ``OSError`` if it cannot be listened on."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def http_url(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
