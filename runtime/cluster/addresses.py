"""The address that a Populace listens at."""

import socket
import time
from collections.abc import Callable
from itertools import islice

import psutil

from populace.settings.errors import SettingsError
from populace.settings.ports import VARIABLE as PORTS_VARIABLE
from populace.settings.ports import ports_in
from populace.settings.running import read_note
from populace.settings.settings import Settings

Report = Callable[[str], None]

PORT_SECONDS_MAX = 30.0
"""How long the processes of a Populace that was killed may take to end."""
POLL_SECONDS = 0.2
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - Ray listens on every address; its token keeps others out


def wait_for_port(settings: Settings, report: Report, *, seconds_max: float = PORT_SECONDS_MAX) -> None:
    """Raise ``SettingsError`` if a port of the settings cannot be listened on.

    If this data directory's last Populace was killed, its gateway listens until Ray has noticed: that is
    waited for, at most ``seconds_max``.
    """
    check_port_settings(settings)
    note = read_note(settings.data)
    was_ours = note is not None and note.url == http_url(settings) and not psutil.pid_exists(note.pid)
    give_up = time.monotonic() + (seconds_max if was_ours else 0.0)
    is_reported = False
    while True:
        try:
            check_port("POPULACE_PORT", settings.host, settings.port)
            check_stream_ports(settings)
            if settings.cluster_port is not None:
                check_port("POPULACE_CLUSTER_PORT", ANY_ADDRESS, settings.cluster_port)
            if settings.metrics_port is not None:
                check_port("POPULACE_METRICS_PORT", settings.metrics_host, settings.metrics_port)
            return
        except SettingsError:
            if time.monotonic() >= give_up:
                raise
        if not is_reported:
            report("Waiting for the Populace that was killed to leave the port")
            is_reported = True
        time.sleep(POLL_SECONDS)


def check_port_settings(settings: Settings) -> None:
    """Raise ``SettingsError`` for ports that exclude each other, also if nothing listens at them."""
    port = settings.cluster_port
    if port is not None and settings.ray_address is not None:
        allowed = "the Ray at POPULACE_RAY_ADDRESS has a port already; leave one of the two out"
        raise SettingsError("POPULACE_CLUSTER_PORT", str(port), allowed)
    if port is not None and port in (settings.port, settings.metrics_port):
        allowed = "it has to be another port than POPULACE_PORT and POPULACE_METRICS_PORT"
        raise SettingsError("POPULACE_CLUSTER_PORT", str(port), allowed)
    if settings.metrics_port == settings.port:
        # Both listeners could have it, and each would get some of the requests.
        allowed = "it has to be another port than POPULACE_PORT"
        raise SettingsError("POPULACE_METRICS_PORT", str(settings.port), allowed)
    check_stream_settings(settings)


def check_stream_ports(settings: Settings) -> None:
    """Raise ``SettingsError`` if too few of the ports between processes can be listened on now."""
    if settings.stream_ports is None:
        return
    ports, needed = ports_in(settings.stream_ports), settings.stream_ports_needed
    free = len(list(islice(filter(_is_free, ports), needed)))
    if free < needed:
        allowed = (
            f"only {free} of these ports are free, and {needed} are needed: {_who_needs(settings)}; "
            "name others, or more"
        )
        raise SettingsError(PORTS_VARIABLE, settings.stream_ports, allowed)


def check_stream_settings(settings: Settings) -> None:
    """Raise ``SettingsError`` if the ports between processes are too few, or have another purpose, too."""
    if settings.stream_ports is None:
        return
    ports, needed = ports_in(settings.stream_ports), settings.stream_ports_needed
    also = {
        "POPULACE_PORT": settings.port,
        "POPULACE_METRICS_PORT": settings.metrics_port,
        "POPULACE_CLUSTER_PORT": settings.cluster_port,
    }
    for variable, port in also.items():
        if port in ports:
            raise SettingsError(
                PORTS_VARIABLE, settings.stream_ports, f"{variable} is {port}, which is one of them"
            )
    if len(ports) < needed:
        allowed = f"these are {len(ports)} ports, and {needed} are needed: {_who_needs(settings)}"
        raise SettingsError(PORTS_VARIABLE, settings.stream_ports, allowed)


def _who_needs(settings: Settings) -> str:
    trainer = "" if settings.training == "off" else ", one for the trainer"
    each = "two" if settings.may_grow else "one"
    gateways = f"{each} for each gateway (POPULACE_GATEWAYS is {settings.gateways})"
    return f"two for each host (POPULACE_HOSTS is {settings.hosts}), {gateways}{trainer}"


def _is_free(port: int) -> bool:
    """Return whether the port is free at every address of this machine: Ray chooses one of them."""
    try:
        try_port(ANY_ADDRESS, port)
    except OSError:
        return False
    return True


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
