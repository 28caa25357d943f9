"""Checks a start in a Ray that goes on without its ``populace serve``, before anything is ended.

The parts that are there serve people: a mistake in a setting may not be what ends that. So whatever can be
found out while they run is found out first.
"""

import psutil

from populace.actors.errors import StartFailed
from populace.cluster.addresses import Report, check_port, check_port_settings
from populace.cluster.former_parts import Serving, former_names, last_serving
from populace.cluster.store_opening import open_store, served_journal
from populace.settings.errors import SettingsError
from populace.settings.settings import Settings
from populace.settings.sources import variable_of
from populace.storage.directory_lock import refuse_served
from populace.storage.header import HEADER_FILE, read_header
from populace.storage.store import Store

PROCESS_OF_RAY = "ray::"
"""How the command lines of Ray's actors begin."""


def check_start(settings: Settings, report: Report) -> Store:
    """Open the store that is to be served in this Ray, and check what else a start needs. Ends nothing.

    Raises ``StartFailed`` if the parts that are there serve another store or journal, ``StoreInUse``,
    ``SettingsError`` for ports, and as ``open_store`` does. Needs a connection to Ray.
    """
    former = last_serving()
    goes_on = former is not None and bool(former_names())
    if former is not None and goes_on:
        _check_same_store(settings, former)
        _check_same_journal(settings, former)
    refuse_served(settings.data)
    check_port_settings(settings)
    _check_port("port", settings.host, settings.port)
    if settings.metrics_port is not None:
        _check_port("metrics_port", settings.metrics_host, settings.metrics_port)
    return open_store(settings, report, goes_on=goes_on)


def _check_same_store(settings: Settings, former: Serving) -> None:
    has_store = (settings.data / HEADER_FILE).exists()
    meant = read_header(settings.data).store_id if has_store else settings.take_over
    if meant == former.store_id:
        return
    if meant is None:
        what = f"and {settings.data} has no store. Name its data directory with POPULACE_DATA"
        if former.journal is not None:
            what += f", or take it over from its journal: add --take-over {former.store_id}"
    else:
        named = f"{settings.data} is that of" if has_store else "--take-over names"
        what = f"and {named} the store {meant}. To serve that one, stop this Ray first"
    raise StartFailed("The store", f"the parts in this Ray serve the store {former.store_id}, {what}")


def _check_same_journal(settings: Settings, former: Serving) -> None:
    own = served_journal(settings)
    if own == former.journal:
        return
    named = "no journal" if own is None else f"the journal {own}"
    theirs = "none" if former.journal is None else former.journal
    raise StartFailed(
        "The store",
        f"POPULACE_JOURNAL names {named}, and the parts in this Ray have {theirs}. Set it as it was; to "
        "serve the store with another one, or without, stop this Ray first",
    )


def _check_port(name: str, host: str, port: int) -> None:
    try:
        check_port(variable_of(name), host, port)
    except SettingsError:
        if not _is_of_ray(port):
            raise


def _is_of_ray(port: int) -> bool:
    """Whether a process of Ray listens at a port, or one that this user may not look at."""
    listeners = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:] == (port,)
    }
    for process_id in listeners - {None}:
        try:
            command = psutil.Process(process_id).cmdline()
        except psutil.Error:
            continue
        if not "".join(command).startswith(PROCESS_OF_RAY):
            return False
    return True
