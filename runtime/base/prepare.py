"""Finds or makes the base model, and names it by its fingerprint.

A base is the default (converted once into the cache), a local directory (read, never written), or
a hub id such as ``org/name``. Nothing is downloaded from a hub unless the caller allows it.
"""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from populace.base.architectures import check_architecture
from populace.base.default import NAME as DEFAULT_BASE_NAME
from populace.base.default import (
    Progress,
    Stage,
    add_recommendation,
    carries_recommendation,
    default_directory,
    make_default,
    read_prepared,
)
from populace.base.files import (
    NEEDED,
    BaseInvalid,
    BaseModelFiles,
    chat_template_of,
    context_tokens_of,
    read_config,
    validate_base,
)
from populace.base.fingerprints import keep_fingerprint, known_fingerprint
from populace.settings.environment import process_environment

__all__ = [
    "DEFAULT_BASE_NAME",
    "BaseInvalid",
    "BaseModelFiles",
    "Progress",
    "Stage",
    "is_base_prepared",
    "prepare_base",
]

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

logger = logging.getLogger(__name__)


def prepare_base(
    base: str | None, cache_directory: Path, *, progress: Progress | None = None, allow_hub: bool = False
) -> BaseModelFiles:
    """Make the base usable and return its files. Quick when it was done before.

    Two processes may call this at once: one prepares, the other waits. If it is killed at any point,
    it leaves nothing half made. ``base`` None is the default; making it takes about 15 s.

    Raises:
        BaseInvalid: the base cannot be found, fetched or converted, or is not a causal LM; says why.
    """
    report = progress or _no_progress
    if base is None:
        prepared = _prepare_default(cache_directory, report)
    elif (directory := Path(base).expanduser()).exists() or not HUB_ID.fullmatch(base):
        prepared = _prepare_directory(directory.absolute(), directory.resolve().name, cache_directory, report)
    else:
        snapshot = _hub_snapshot(base, report, allow_hub=allow_hub)
        prepared = _prepare_directory(snapshot, base, cache_directory, report)
    if not prepared.has_chat_template:
        logger.warning("the base %s has no chat template: it completes text but cannot chat", prepared.name)
    report("ready", 1.0)
    return prepared


def is_base_prepared(base: str | None, cache_directory: Path) -> bool:
    """Return whether ``prepare_base`` would return at once, without preparing anything."""
    if base is None:
        return read_prepared(default_directory(cache_directory)) is not None
    return Path(base).expanduser().is_dir()


def _no_progress(stage: Stage, fraction: float) -> None:
    """Ignore the progress."""


def _prepare_default(cache_directory: Path, progress: Progress) -> BaseModelFiles:
    directory = default_directory(cache_directory)
    prepared = read_prepared(directory)
    # A cache that an earlier version filled may be one that cannot be written.
    if prepared is not None and (carries_recommendation(directory) or not os.access(directory, os.W_OK)):
        return prepared
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory.parent / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        progress("wait", 0.0)
        lock.acquire()
    try:
        prepared = read_prepared(directory)
        if prepared is None:
            return make_default(cache_directory, progress)
        if not carries_recommendation(directory):
            add_recommendation(directory)
        return prepared
    finally:
        lock.release()


def _prepare_directory(
    directory: Path, name: str, cache_directory: Path, progress: Progress
) -> BaseModelFiles:
    """Validate and name a directory that is not ours; the cache keeps the result by file sizes and times."""
    config = read_config(directory)
    known = known_fingerprint(directory, cache_directory)
    if known is None:
        validate_base(directory)
        progress("fingerprint", 0.0)
        known = keep_fingerprint(directory, cache_directory)
    check_architecture(directory, config)
    return BaseModelFiles(
        directory=directory,
        name=name,
        fingerprint=known,
        context_tokens=context_tokens_of(config),
        has_chat_template=chat_template_of(directory) is not None,
    )


def _hub_snapshot(hub_id: str, progress: Progress, *, allow_hub: bool) -> Path:
    """Find the snapshot of a hub model; downloads only where allowed, in a child that is not offline."""
    progress("fetch", 0.0)
    program = (
        "import json, sys; from huggingface_hub import snapshot_download; "
        "print(snapshot_download(sys.argv[1], allow_patterns=json.loads(sys.argv[2]), "
        "local_files_only=sys.argv[3] == 'local'))"
    )
    scope = "hub" if allow_hub else "local"
    # This process has the hub switched off, and the library reads the switch once, at its import.
    environment = process_environment(
        HF_HUB_OFFLINE="0" if allow_hub else "1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        HF_HUB_DISABLE_TELEMETRY="1",
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", program, hub_id, json.dumps(NEEDED), scope],
        capture_output=True,
        text=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if result.returncode == 0:
        return Path(result.stdout.strip().splitlines()[-1])
    if not allow_hub:
        reason = "it is neither a local directory nor in the local hub cache, and no download was asked for"
        raise BaseInvalid(hub_id, f"{reason}. `populace serve --base {hub_id}` downloads it")
    last = (result.stderr.strip().splitlines() or ["no message"])[-1]
    raise BaseInvalid(hub_id, f"the hub did not deliver it ({last})")
