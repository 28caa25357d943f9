"""OpenTelemetry's own variables, which say where telemetry is pushed to: its SDK reads them."""

import os
from typing import Literal
from urllib.parse import urlsplit

from populace.settings.errors import SettingsError

Signal = Literal["metrics", "traces"]

PREFIX = "OTEL_EXPORTER_OTLP_"
PROTOCOL = "http/protobuf"


def check_otlp(signal: Signal, *, is_address_named: bool = False) -> None:
    """Raise ``SettingsError`` if the signal cannot be pushed to where the variables say.

    A variable of the signal wins over that of all signals, as in the SDK. Their address does not count if a
    setting of ours names one.
    """
    variable, endpoint = _find(signal, "ENDPOINT")
    if endpoint is not None and not is_address_named and not _is_address(endpoint):
        raise SettingsError(variable, endpoint, "it is an address like http://collector:4318")
    variable, protocol = _find(signal, "PROTOCOL")
    if protocol not in (None, PROTOCOL):
        allowed = f"Populace pushes by {PROTOCOL}, which collectors take at port 4318"
        raise SettingsError(variable, protocol, allowed)
    variable, seconds = _find(signal, "TIMEOUT")
    try:
        is_time = seconds is None or float(seconds) > 0
    except ValueError:
        is_time = False
    if not is_time:
        raise SettingsError(variable, seconds, "it is a number of seconds above 0")


def _is_address(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an IPv6 address without its end, or a port that is none
        return False


def _find(signal: Signal, name: str) -> tuple[str, str | None]:
    """Return the variable that counts, and its value; an empty one counts as not set."""
    everyones = PREFIX + name
    for variable in (f"{PREFIX}{signal.upper()}_{name}", everyones):
        if value := os.environ.get(variable):
            return variable, value
    return everyones, None
