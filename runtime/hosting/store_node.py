# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Finds the files of a Populace on the node of Ray where a part of it runs.

``populace serve`` starts all parts with the paths of its own node. If that one is lost, Ray starts them again
on another store node, which has a data directory, a master key and a base of its own: those that the
variables of its raylet name, as they would for ``populace serve`` there. The store comes from the journal.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import ray

from populace.actors.engine import BaseInfo
from populace.base.fingerprints import fetched_directory, find_base
from populace.base.memory_module import NONE, SHIPPED
from populace.base.prepare import BaseInvalid, is_base_prepared, prepare_base
from populace.encoder.files import EncoderInvalid, is_encoder_prepared, prepare_encoder
from populace.node_files.memory_module import find_here, kept_file
from populace.settings.errors import SETTINGS_REFUSED
from populace.settings.settings import Settings
from populace.storage.journal.options import JournalOptions
from populace.telemetry.options import LOGS_DIRECTORY, TRACES_DIRECTORY, TelemetryOptions

logger = logging.getLogger(__name__)

NODE_ID = "ray.io/node-id"
"""The label that Ray gives each node."""

STORE_LABELS = {"populace.store": "true"}
"""The label of a node that has the data directory, as in ``ray start --labels populace.store=true``."""


class Home(NamedTuple):
    """The node of the ``populace serve`` that started the parts, whose paths their options have.

    ``store_id`` is the store that they serve, ``journal`` the one that other nodes take it from.
    """

    node_id: str
    store_id: str
    journal: JournalOptions


def own_settings(home: Home | None) -> Settings | None:
    """Return the settings of this process's node if it is another one than ``home``; None at home.

    Without a journal, and so without a ``home``, every node is taken for it: the data directory may be a
    volume that was attached to this one. Raises ``SETTINGS_REFUSED``.
    """
    if home is None or ray.get_runtime_context().get_node_id() == home.node_id:
        return None
    return Settings.from_environment()


def own_telemetry(home: Home | None, options: TelemetryOptions | None) -> TelemetryOptions | None:
    """Return the options of telemetry with the folders of this node. Raises nothing."""
    try:
        own = own_settings(home)
    except SETTINGS_REFUSED:
        # Whoever opens the store says it; standard error has the log meanwhile.
        return None
    if own is None or options is None:
        return options
    traces = options.traces
    if traces is not None and traces.kind == "file":
        traces = replace(traces, target=str(own.data / TRACES_DIRECTORY))
    return replace(options, directory=own.data / LOGS_DIRECTORY, traces=traces)


def own_base(own: Settings, fingerprint: str) -> Path:
    """Return the directory of the base on this node: the one of its settings, or one that its cache has.

    Nothing is fetched: if it is not there, this logs what to do and returns where the cache would have it. A
    directory of the first node's path may have another base here, on which nothing may be trained.
    """
    reason = "it is not in the cache"
    try:
        if is_base_prepared(own.base, own.cache):
            found = prepare_base(own.base, own.cache)
            if found.fingerprint == fingerprint:
                return found.directory
            reason = f"{found.directory} has the fingerprint {found.fingerprint}"
    except (BaseInvalid, OSError) as error:
        reason = str(error)
    # Engine replicas of this node may have fetched it.
    if (fetched := find_base(fingerprint, own.cache)) is not None:
        return fetched
    logger.error(
        "this node has not the base %s, so nothing is trained and no adapter is checked here: %s. Name its "
        "directory with POPULACE_BASE, or copy the first node's cache to %s",
        fingerprint,
        reason,
        own.cache,
    )
    return fetched_directory(fingerprint, own.cache)


def own_module(own: Settings, base: BaseInfo) -> Path | None:
    """Return the file of the base's memory module on this node; None for a base without one.

    If it is not there, this logs what to do and returns where the cache would have it.
    """
    if base.memory_module is None:
        return None
    named = None if own.memory_module in (None, NONE, SHIPPED) else Path(own.memory_module).expanduser()
    try:
        found = find_here(base.memory_module, base.fingerprint, named, own.cache)
    except OSError as error:
        logger.warning("the memory module %s cannot be looked for: %s", base.memory_module, error)
        found = None
    if found is not None:
        return found
    logger.error(
        "this node has not the memory module %s: name its file with POPULACE_MEMORY_MODULE",
        base.memory_module,
    )
    return kept_file(base.memory_module, own.cache)


def own_encoder(own: Settings) -> Path | None:
    """Return the directory of the sentence encoder on this node; None without one, which is logged."""
    reason = f"copy the first node's cache to {own.cache}"
    try:
        if is_encoder_prepared(own.encoder, own.cache):
            return prepare_encoder(own.encoder, own.cache)
    except EncoderInvalid as error:
        reason = str(error)
    logger.error(
        "this node has no sentence encoder, so words alone decide what questions ask for: %s", reason
    )
    return None


def placed(nodes: dict[str, str] | None, preferred: str | None) -> dict[str, Any]:
    """Return Ray's options for an actor on nodes with these labels, ``preferred`` as long as it lives."""
    if preferred is None or not nodes or NODE_ID in nodes:
        return {"label_selector": nodes or {}}
    return {"label_selector": {NODE_ID: preferred}, "fallback_strategy": [{"label_selector": nodes}]}
