"""Settings: every one of them, with its default, its bounds and its description.

Every setting has a variable ``POPULACE_<NAME>`` (the data and cache directories are
``POPULACE_DATA`` and ``POPULACE_CACHE``) and a key in the configuration file; ``sources.py`` reads both. A
value that does not fit, or a name that looks like a misspelt setting, is an error: a typo must not quietly
become the default. The text below a field is what ``populace config`` says of it.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

import platformdirs
import psutil
from pydantic import ConfigDict, Field, HttpUrl, ValidationError, ValidationInfo, field_validator

from populace.actors.engine import EngineKind
from populace.settings.device_settings import DeviceSettings
from populace.settings.errors import SettingsError
from populace.settings.machine import (
    adapter_slots_default,
    engine_profile,
    hosts_default,
    physical_cores,
    threads_default,
)
from populace.settings.ports import ports_in
from populace.settings.sources import Gathered, absolute, allowed_by, gather
from populace.storage.journal.options import JournalOptions
from populace.storage.records.keys import RESERVED_MODEL_NAMES, name_problem

ORIGIN = re.compile(r"https?://[^/\s?#@]+")


def origins_in(text: str | None) -> tuple[str, ...]:
    """Separate origins at commas."""
    return tuple(origin.strip().rstrip("/") for origin in (text or "").split(",") if origin.strip())


def checked_origins(text: str | None) -> tuple[str, ...]:
    """Do the same; raises ``ValueError`` for one that no browser sends."""
    origins = origins_in(text)
    for origin in origins:
        if origin != "*" and not ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no origin: those are like https://chat.example.org, or *")
    return origins


EngineChoice = Literal["auto", EngineKind]
TrainingPriority = Literal["idle", "low", "normal"]
TrainingMode = Literal["auto", "asked", "off"]
JournalMode = Literal["sync", "async"]
Repetitions = Literal["end", "keep"]
TaskPrompts = Literal["peek", "turn"]
ToolChoiceAuto = Literal["none", "refuse"]
NewModels = Literal["local", "all", "none"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "text"]
TelemetryContent = Literal["none", "names"]
TraceKind = Literal["console", "file", "otlp"]

MIB = 2**20
GIB = 2**30
SMALL_MACHINE_BYTES = 32 * GIB
HOUR_SECONDS = 3600.0
DAY_SECONDS = 24 * HOUR_SECONDS

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(DeviceSettings):
    """What one Populace runs with. Frozen, picklable, and free of heavy imports."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    data: Path = Field(default_factory=lambda: platformdirs.user_data_path("populace"))
    """Directory of the store. One process owns it at a time; it must be on a local disk."""
    cache: Path = Field(default_factory=lambda: platformdirs.user_cache_path("populace"))
    """Directory of files that can be made again: converted base models and fingerprints."""
    config: Path = Field(default_factory=lambda: platformdirs.user_config_path("populace"))
    """Directory of this user's API keys, and of ``populace.toml``."""
    config_file: Path | None = None
    """File of settings, in TOML; None is ``populace.toml`` in ``config``, if there is one. Variables and
    options of the command line win over what it says."""
    master_key: Path | None = None
    """File of the key that encrypts people's data keys; None is ``master.key`` in ``data``."""
    journal: str | None = None
    """URL of the object store that has all that is committed too, for when this machine is lost:
    ``s3://bucket/prefix``, ``gs://…``, ``az://…`` or ``file:///directory``; None keeps no journal.
    Credentials are those of the provider's own variables, such as ``AWS_ACCESS_KEY_ID``."""
    journal_mode: JournalMode = "sync"
    """Whether a turn is acknowledged once it is in the journal (``sync``: nothing acknowledged is lost with
    the machine), or ships soon after (``async``: at most a second of it is)."""
    journal_keep_seconds: Seconds = 7 * DAY_SECONDS
    """How far ``populace restore --at`` can go back."""
    take_over: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    """Id of a store in the journal that an empty data directory becomes: its people are served from here on,
    and its former machine writes no more."""
    api_key: str | None = None
    """API key that the command line sends; None is the one that ``populace serve`` stored in ``config``."""
    address: str | None = None
    """Server of the command line, like ``http://host:8000``; None is the one that serves ``data``."""

    host: str = "127.0.0.1"
    """Address that the gateway listens on; ``0.0.0.0`` is every one of this machine."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port that the gateway listens on."""
    ray_address: str | None = None
    """Ray cluster to use: ``auto`` or an address joins a running one, None starts one on this machine."""
    stream_ports: str | None = None
    """Ports, as ``FIRST-LAST``, that the processes of a node listen on for each other, for a firewall to
    know: two of each host, one of the gateway and of the trainer, and one of each Python program in the
    cluster that has the variable. With None the system chooses."""
    cluster_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port at which other machines join the Ray that ``populace serve`` starts, with ``populace node join``;
    None starts one that no machine is meant to join. Whoever joins needs the token."""
    cluster_host: str | None = None
    """Address of this machine that the others of the cluster reach; None is that of its network."""
    cluster_token_file: Path | None = None
    """File of the token that every connection to that Ray needs, and that is copied to the machines which
    join; None is ``cluster-token`` in ``config``, which is made once."""
    log_level: LogLevel = "info"
    """Lowest level of what every process logs, in ``logs`` of ``data`` and on its standard error."""
    log_format: LogFormat | None = None
    """Format of the logs on standard error; None is text on a terminal, else JSON. The files are JSON."""
    telemetry: str = "file"
    """Where the traces of requests and trainings go: ``off``, ``console`` (standard error), ``file`` or
    ``file:FOLDER`` (``traces`` of ``data``, or a folder; of each process its newest), ``otlp`` or
    ``otlp:URL`` (a collector, by the variables ``OTEL_EXPORTER_OTLP_…`` or at a URL)."""
    telemetry_sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the traces that are exported. What ends in an error is exported whatever it is."""
    telemetry_content: TelemetryContent = "none"
    """What logs and traces say of people: ``none`` has keyed hashes of tenants' and models' names, ``names``
    the names. Nothing that was said is ever logged, nor traced."""

    shards: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Number of shards of a new store, 64 if None; a store with another number is refused. Only ``populace
    reshard`` changes that of an existing store."""
    hosts: Positive = Field(default_factory=lambda: hosts_default(os.cpu_count() or 1))
    """Host processes, which share the shards; by default one for four cores."""
    gateways: Positive = 1
    """Gateway processes of the machine that serves, which share ``port``: the kernel gives each new
    connection to one of them."""
    replicas: Positive = 1
    """Engine replicas of each machine that runs engines, each with the base in its own memory."""
    threads: Positive = Field(default_factory=lambda given: threads_default(physical_cores(), given))
    """Compute threads of one replica. By default all replicas' threads together are as many as the physical
    cores, because more of them would spin against each other."""

    base: str | None = None
    """Base model: a local directory or a hub id; None is the default base."""
    engine: EngineChoice = "auto"
    """Inference engine: ``vllm``, ``torch``, or ``auto``, which is vLLM where it is installed."""
    context_tokens: Annotated[int, Field(ge=16)] = Field(
        default_factory=lambda given: engine_profile(given).context_tokens
    )
    """Most tokens of a request with its reply; the base's own limit if that is lower. By default it is more
    on a large GPU, and so are the next two and ``waiting_max``."""
    sequences_max: Positive = Field(default_factory=lambda given: engine_profile(given).sequences)
    """Requests that one replica runs at once."""
    adapter_slots: Positive = Field(default_factory=adapter_slots_default)
    """Different adapters that one replica uses at once. On a GPU each reserves memory for ``rank_max``."""
    rank_max: Annotated[int, Field(ge=1, le=512)] = 16
    """Largest rank of an adapter that is served or trained."""
    warm_bytes_max: Annotated[int, Field(ge=MIB)] = 512 * MIB
    """Bytes of adapters that this machine's replicas keep in host memory, ready for their engines."""
    warm_directory: Path | None = None
    """Directory in which this machine's replicas share adapters; None is in its memory, ``/dev/shm``."""
    encoder: str | None = None
    """Sentence encoder that recognises what questions in other words ask for: a directory with a BERT
    encoder, or ``none``, with which words alone decide it. None is all-MiniLM-L6-v2, fetched once (83 MB)."""
    memory_module: str | None = None
    """Memory module: a file, ``shipped`` for the one that comes with Populace, or ``none``.

    None is the shipped one for the default base, and none for other bases and on GPUs.
    """
    kv_cache_gib: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default_factory=lambda: 1.0 if psutil.virtual_memory().total < SMALL_MACHINE_BYTES else 4.0
    )
    """Memory of one replica's KV cache on a CPU, in GiB."""

    training: TrainingMode = "auto"
    """``auto`` trains models that have enough feedback, ``asked`` only those with a request, ``off`` none,
    without a trainer. The trainer is a process of low priority, which loads the base when it needs it."""
    training_threads: Positive = 1
    """Compute threads of the trainer, beside those of the engines."""
    training_priority: TrainingPriority = "idle"
    """``idle`` trains only when nothing else wants the processor; ``low``, for a machine that is never idle,
    takes a little of it always, and makes replies slower meanwhile; ``normal`` takes as much as they do."""
    teacher_url: str | None = None
    """OpenAI-compatible endpoint, such as ``http://localhost:8001/v1``, of a model that answers in each
    person's place what they ask again and again; it is sent the turn that tells it, and the question. With
    None the base answers."""
    teacher_model: str | None = None
    """The teacher's name at ``teacher_url``."""
    teacher_key: str | None = None
    """The API key that ``teacher_url`` wants."""
    kept_training_bytes_max: Annotated[int, Field(ge=0)] = 2 * GIB
    """Most bytes of the trainings that are kept, to be continued or replayed; the longest unused are dropped.
    0 keeps none."""

    community: str | None = None
    """Name of the model on whose ``latest`` those models of its tenant begin that have no revision of their
    own. It is created like any other; with None all begin on the base."""

    repetitions: Repetitions = "end"
    """What happens to a reply of a chat that has become a loop, or noise, if the request does not say it: it
    ends there (``end``), or goes on (``keep``). With ``keep`` nothing keeps a chat's later replies from the
    words of earlier ones either."""
    task_prompts: TaskPrompts = "peek"
    """What the prompts for titles, tags or summaries are that chat front ends send by themselves: ``peek``
    leaves no trace in the person, ``turn`` is said to them like any other."""
    tool_parser: str | None = None
    """vLLM's name of the parser of the base's own calls of tools; None is that of its template, ``none`` is
    none."""
    tool_choice_auto: ToolChoiceAuto = "none"
    """What becomes of tools whose call is left to a base that cannot choose: ``none``, a reply in words with
    a warning, or ``refuse``."""
    new_models: NewModels = "local"
    """Whose chats create the personal model that they name, if there is none of that name: those of the
    tenant ``local``, whose key ``populace serve`` keeps on this machine, of ``all`` tenants, or of ``none``.
    Names of other makers' models, such as gpt-4, never do."""
    turn_seconds_max: Seconds = 120.0
    """How long a turn may take before it ends."""
    drain_seconds_max: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60.0
    """How long what runs may go on once ``populace serve`` is to stop. It takes nothing new meanwhile."""
    idle_seconds_max: Seconds = 300.0
    """How long an active model is kept in memory after its last turn."""
    resident_bytes_max: Annotated[int, Field(ge=MIB)] = 256 * MIB
    """Bytes of active personal models that one host keeps in memory."""
    mailbox_max: Positive = 16
    """Turns that may wait for one personal model."""
    waiting_max: Positive = Field(default_factory=lambda given: engine_profile(given).waiting)
    """Requests of one tenant that may wait for one engine; its chats and its trainings are counted apart."""
    cors_origins: str | None = None
    """Origins whose web pages may use the gateway, separated by commas, such as ``http://localhost:3000``;
    ``*`` is any. With None a browser keeps pages of other origins away."""
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of a listener of its own for ``/metrics``; with None the public one has it."""
    metrics_host: str = "127.0.0.1"
    """Address of that listener: one that only the operator's network reaches."""
    metrics_vllm_names: bool = False
    """Whether ``/metrics`` has the engine's figures under vLLM's names too, for dashboards and autoscalers
    that know these."""
    metrics_push_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    """Seconds between two pushes of all metrics by OTLP; with None they are not pushed. Where to is in
    OpenTelemetry's own variables, such as ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
    body_bytes_max: Annotated[int, Field(ge=1024)] = 8 * MIB
    """Largest body of a request, in bytes."""
    archive_bytes_max: Annotated[int, Field(ge=1024)] = 1024 * MIB
    """Largest personal model or adapter that is imported over HTTP, in bytes, both packed and unpacked."""
    file_bytes_max: Annotated[int, Field(ge=1024)] = 512 * MIB
    """Largest file that is uploaded to ``/v1/files``, in bytes."""
    tenant_file_bytes_max: Annotated[int, Field(ge=1024)] = 4 * GIB
    """The bytes of all uploaded files of one tenant together."""
    operation_seconds_max: Seconds = 24 * HOUR_SECONDS
    """How long the result of an operation id is kept for a caller that retries."""
    log_seconds_max: Seconds = 30 * DAY_SECONDS
    """How long a model's interactions are kept; the newest, and those not yet trained on, are kept longer."""
    log_interactions_max: Annotated[int, Field(ge=64)] = 10_000
    """Most interactions kept of one model. One whose operation id is still kept always stays."""
    log_bytes_max: Annotated[int, Field(ge=16 * MIB)] = 64 * MIB
    """Most bytes kept of one model's interactions."""

    @property
    def kv_gib(self) -> int:
        """``kv_cache_gib`` in whole GiB, at least one, as vLLM takes it on a CPU."""
        return max(1, round(self.kv_cache_gib))

    @property
    def cluster_token(self) -> Path:
        """The file of the cluster's token."""
        return self.config / "cluster-token" if self.cluster_token_file is None else self.cluster_token_file

    @property
    def trace_target(self) -> tuple[TraceKind, str] | None:
        """Where ``telemetry`` says that traces go, and the folder or URL that it names, if any."""
        kind, _, target = self.telemetry.partition(":")
        if kind == "console" or kind == "otlp":
            return kind, target
        if kind == "file":
            return kind, str(Path(target).expanduser().absolute()) if target else ""
        return None

    @property
    def journal_options(self) -> JournalOptions | None:
        """How the store is journaled, None if it is not."""
        if self.journal is None:
            return None
        return JournalOptions(self.journal, self.journal_mode == "sync", self.journal_keep_seconds)

    @property
    def stream_ports_needed(self) -> int:
        """How many of ``stream_ports`` the processes of this node take."""
        return 2 * self.hosts + (1 + self.may_grow) * self.gateways + (self.training != "off")

    @property
    def may_grow(self) -> bool:
        """Whether other machines may join or leave the Ray that this is served in."""
        return self.cluster_port is not None or self.ray_address is not None

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """``cors_origins``, each for itself, as browsers write them."""
        return origins_in(self.cors_origins)

    @field_validator(
        "data",
        "cache",
        "config",
        "config_file",
        "master_key",
        "warm_directory",
        "cluster_token_file",
    )
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else absolute(path)

    @field_validator("address")
    @classmethod
    def _is_address(cls, text: str | None) -> str | None:
        """Check the address; the one that OpenAI's clients are given ends in /v1."""
        return None if text is None else str(HttpUrl(text)).rstrip("/").removesuffix("/v1")

    @field_validator("host", "cluster_host", "metrics_host")
    @classmethod
    def _without_brackets(cls, host: str | None) -> str | None:
        """Take the brackets from an address of IPv6, which it has in URLs and before a port."""
        return host[1:-1] if host is not None and host.startswith("[") and host.endswith("]") else host

    @field_validator("stream_ports")
    @classmethod
    def _are_ports(cls, text: str | None) -> str | None:
        if text is not None:
            ports_in(text)
        return text

    @field_validator("telemetry")
    @classmethod
    def _is_trace_target(cls, text: str) -> str:
        kind, colon, target = text.partition(":")
        if kind not in ("off", "console", "file", "otlp") or (colon and not target):
            raise ValueError("it is off, console, file, file:FOLDER, otlp or otlp:URL")
        if target and kind in ("off", "console"):
            raise ValueError(f"{kind} has nothing after it; file:FOLDER and otlp:URL do")
        if target and kind == "otlp":
            HttpUrl(target)
        return text

    @field_validator("community")
    @classmethod
    def _is_name(cls, name: str | None) -> str | None:
        problem = None if name is None else name_problem(name, reserved=RESERVED_MODEL_NAMES)
        if problem is not None:
            raise ValueError(f"no model may have this name: {problem}")
        return name

    @field_validator("teacher_url")
    @classmethod
    def _is_endpoint(cls, text: str | None) -> str | None:
        return None if text is None else str(HttpUrl(text)).rstrip("/")

    @field_validator("teacher_model")
    @classmethod
    def _names_teacher(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is None and info.data.get("teacher_url") is not None:
            raise ValueError("the model at POPULACE_TEACHER_URL needs its name")
        return text

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, text: str | None) -> str | None:
        checked_origins(text)
        return text

    @classmethod
    def from_environment(cls, **overrides: object) -> Self:
        """Read variables and the configuration file; an override that is not None wins over both.

        Raises:
            SettingsError: a value is not allowed, or a variable or key is a near miss of a setting's name.
            ConfigFileInvalid: the file cannot be read.
        """
        return cls.gathered(**overrides)[0]

    @classmethod
    def gathered(cls, **overrides: object) -> tuple[Self, Gathered]:
        """Do the same; returns also where each value comes from."""
        config = cls.model_fields["config"].get_default(call_default_factory=True)
        found = gather(cls.model_fields, overrides, default_directory=config)
        try:
            return cls.model_validate(found.values), found
        except ValidationError as error:
            raise _settings_error(error, found) from None


def _settings_error(error: ValidationError, found: Gathered) -> SettingsError:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    value = None if first["input"] is None else str(first["input"])
    return SettingsError(found.named(name), value, allowed_by(first))
