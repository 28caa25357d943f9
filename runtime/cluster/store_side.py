"""The store's side of a Populace: its directory, base and files, on the node that has them.

That is the node of ``populace serve``, or another one of a Ray that runs already. What the other parts need
to know of it is one value, which can be sent.
"""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from populace.actors.engine import BaseInfo, EngineKind
from populace.base.memory_module import MemoryModuleFile, find_memory_module
from populace.base.prepare import BaseModelFiles, Progress, prepare_base
from populace.base.sampling_defaults import read_sampling_defaults
from populace.base.tool_parser import tool_parser
from populace.cluster.addresses import Report, http_url, wait_for_port
from populace.cluster.store_opening import begun_journal, open_store
from populace.encoder.files import EncoderInvalid, is_encoder_prepared, prepare_encoder
from populace.settings.errors import SettingsError
from populace.settings.running import Running, remove_running, write_running
from populace.settings.settings import Settings
from populace.storage.directory_lock import DirectoryLock
from populace.storage.journal.options import JournalOptions
from populace.storage.store import Store
from populace.telemetry.options import LOGS_DIRECTORY, TRACES_DIRECTORY, TelemetryOptions, TraceOptions
from populace.telemetry.tracing.setup import telemetry_setup

NAME_KEY_PURPOSE = b"populace-names-in-telemetry"


class StoreSide(NamedTuple):
    """What the parts of a Populace need of the store, and of the node that has it.

    The paths in ``settings`` and the others are those of that node, and ``url`` is where its gateway is
    reached. ``node`` is its id in Ray, None for the one of this process.
    """

    settings: Settings
    url: str
    store_id: str
    shards: int
    base: BaseModelFiles
    info: BaseInfo
    memory: MemoryModuleFile | None
    encoder: Path | None
    telemetry: TelemetryOptions
    node: str | None = None


class OwnStore:
    """The store of this process's node: opened, and then held until the block ends."""

    place: str | None = None
    """The other node that has the store: none."""

    def __init__(self, settings: Settings, report: Report, base_progress: Progress | None = None) -> None:
        self._settings = settings
        self._report = report
        self._base_progress = base_progress
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def open(self, engine: EngineKind) -> StoreSide:
        """Open it, and find the base and the other files. This process tells of itself in the store's logs.

        In a Ray that runs already nothing of what it has is ended, and ``take`` comes later. Raises as
        ``take`` or ``check_start`` does, and ``open_store``, and ``BaseInvalid``, ``EncoderInvalid`` and
        ``MemoryModuleInvalid``.
        """
        settings, report = self._settings, self._report
        if settings.ray_address is None:
            self.take()
            store = open_store(settings, report)
        else:
            from populace.cluster.start_check import check_start

            store = check_start(settings, report)
        telemetry = telemetry_options(settings, store)
        self._held.callback(telemetry_setup(telemetry, "serve"))
        base = prepare_base(
            settings.base, settings.cache, progress=self._base_progress, allow_hub=settings.base is not None
        )
        memory = find_memory_module(settings.memory_module, base.fingerprint)
        return StoreSide(
            settings,
            http_url(settings),
            store.store_id,
            store.shards,
            base,
            base_info(settings, base, engine, memory),
            memory,
            find_encoder(settings, report),
            telemetry,
        )

    def begin_run(self, store_id: str) -> JournalOptions | None:
        """Begin a run of the store, as ``begun_journal`` does."""
        return begun_journal(self._settings, store_id)

    def take(self) -> None:
        """Take the data directory, and see that the ports are free.

        Raises ``StoreInUse``, ``DiskRefused`` and ``SettingsError``.
        """
        settings = self._settings
        owner = f"populace serve at {http_url(settings)}"
        if settings.data.is_dir():
            # A second Populace must report that the first one runs, and not that its port is taken.
            DirectoryLock(settings.data, owner).release()
        wait_for_port(settings, self._report)
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held.enter_context(DirectoryLock(settings.data, owner))

    def note(self, running: Running) -> None:
        """Let command lines on this node find what runs."""
        write_running(self._settings.data, running)

    def remove_note(self) -> None:
        remove_running(self._settings.data)


def base_info(
    settings: Settings, base: BaseModelFiles, engine: EngineKind, memory: MemoryModuleFile | None
) -> BaseInfo:
    """Return what callers and hosts need to know of the base as it is served."""
    sampling = read_sampling_defaults(base.directory)
    if settings.repetitions == "end":
        sampling = sampling._replace(ends_degenerate=True)
    else:
        sampling = sampling._replace(own_words_penalty=1.0)
    return BaseInfo(
        base.name,
        base.fingerprint,
        min(settings.context_tokens, base.context_tokens),
        None if memory is None else memory.digest,
        sampling,
        tool_parser(base.directory, settings.tool_parser) if engine == "vllm" else None,
    )


def telemetry_options(settings: Settings, store: Store) -> TelemetryOptions:
    """Return what each process of this Populace tells, and where; names are hashed with the store's key."""
    return TelemetryOptions(
        directory=settings.data / LOGS_DIRECTORY,
        name_key=store.sealing.master_key.derive(store.store_id.encode(), NAME_KEY_PURPOSE),
        log_level=settings.log_level,
        log_format=settings.log_format,
        names_plain=settings.telemetry_content == "names",
        traces=_trace_options(settings),
    )


def find_encoder(settings: Settings, report: Report) -> Path | None:
    """Return the directory of the sentence encoder; None for none, or if the default one cannot be fetched.

    Raises ``EncoderInvalid`` for a directory that a setting names.
    """
    if not is_encoder_prepared(settings.encoder, settings.cache):
        report("Fetching the sentence encoder (83 MB)")
    try:
        return prepare_encoder(settings.encoder, settings.cache)
    except EncoderInvalid as error:
        if settings.encoder is not None:
            raise
        report(f"{error} Words alone decide what questions ask for")
        return None


def _trace_options(settings: Settings) -> TraceOptions | None:
    if settings.trace_target is None:
        return None
    kind, target = settings.trace_target
    if kind == "file":
        target = target or str(settings.data / TRACES_DIRECTORY)
        try:
            Path(target).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                "POPULACE_TELEMETRY", settings.telemetry, f"its folder cannot be made: {error.strerror}"
            ) from error
    return TraceOptions(kind, target, settings.telemetry_sample)
