"""Settings: the one place that reads environment variables.

Every setting has a variable ``POPULACE_<NAME>`` (the data and cache directories are
``POPULACE_DATA`` and ``POPULACE_CACHE``). A variable that is set to the empty string counts as
not set. A value that does not fit, or a variable that looks like a misspelt setting, is an
error: a typo must not quietly become the default. ``populace serve`` names the other variables
that begin so and change nothing.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import platformdirs
import psutil
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError, ValidationInfo, field_validator

from populace.actors.engine import EngineKind
from populace.settings.machine import has_gpu, physical_cores
from populace.storage.journal.options import JournalOptions
from populace.storage.records.errors import PopulaceError
from populace.storage.records.keys import RESERVED_MODEL_NAMES, name_problem

ResidencyPolicy = Literal["segmented-lru", "w-tinylfu"]
EngineChoice = Literal["auto", EngineKind]
TrainingMode = Literal["auto", "asked", "off"]
JournalMode = Literal["sync", "async"]
Repetitions = Literal["end", "keep"]
TaskPrompts = Literal["peek", "turn"]
ToolChoiceAuto = Literal["refuse", "none"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "text"]
TelemetryContent = Literal["none", "names"]
TraceKind = Literal["console", "file", "otlp"]

PREFIX = "POPULACE_"
MIB = 2**20
GIB = 2**30
SMALL_MACHINE_BYTES = 32 * GIB
ADAPTER_SLOTS_GPU = 8
ORIGIN = re.compile(r"https?://[^/\s?#@]+")
HOUR_SECONDS = 3600.0
DAY_SECONDS = 24 * HOUR_SECONDS

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SettingsError(PopulaceError):
    """A setting has a value that is not allowed, or a name that does not exist."""

    code = "settings_invalid"
    template = "The setting {variable} is {value!r}, which is not allowed: {allowed}."

    variable: str
    value: str | None
    allowed: str

    def __str__(self) -> str:
        if self.value is None:
            return f"The setting {self.variable} is not set: {self.allowed}."
        return super().__str__()


class Settings(BaseModel):
    """What one Populace runs with. Frozen, picklable, and free of heavy imports."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    data: Path = Field(default_factory=lambda: platformdirs.user_data_path("populace"))
    """Directory of the store. One process owns it at a time; it must be on a local disk."""
    cache: Path = Field(default_factory=lambda: platformdirs.user_cache_path("populace"))
    """Directory of files that can be made again: converted base models and fingerprints."""
    config: Path = Field(default_factory=lambda: platformdirs.user_config_path("populace"))
    """Directory of this user's API keys."""
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
    api_key: str | None = None
    """API key that the command line sends; None is the one that ``populace serve`` stored in ``config``."""
    address: str | None = None
    """Server of the command line, like ``http://host:8000``; None is the one that serves ``data``."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    ray_address: str | None = None
    """Ray cluster to use: ``auto`` or an address joins a running one, None starts one on this machine."""
    log_level: LogLevel = "info"
    """Lowest level of what every process logs, in ``logs`` of ``data`` and on its standard error."""
    log_format: LogFormat | None = None
    """Format of the logs on standard error; None is text on a terminal, else JSON. The files are JSON."""
    telemetry: str = "off"
    """Where the traces of requests and trainings go: ``off``, ``console`` (standard error), ``file`` or
    ``file:FOLDER`` (``traces`` of ``data``, or a folder), ``otlp`` or ``otlp:URL`` (a collector, by the
    variables ``OTEL_EXPORTER_OTLP_…`` or at a URL)."""
    telemetry_sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the traces that are exported. What ends in an error is exported whatever it is."""
    telemetry_content: TelemetryContent = "none"
    """What logs and traces say of people: ``none`` has keyed hashes of tenants' and models' names, ``names``
    the names. Nothing that was said is ever logged, nor traced."""

    shards: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Number of shards of a new store, 64 if None; a store with another number is refused. Only ``populace
    reshard`` changes that of an existing store."""
    hosts: Positive = Field(default_factory=lambda: hosts_default(os.cpu_count() or 1))
    replicas: Positive = 1
    threads: Positive = Field(default_factory=lambda given: threads_default(physical_cores(), given))
    """Compute threads of one replica. By default all replicas' threads together are as many as the physical
    cores, because more of them would spin against each other."""

    base: str | None = None
    """Base model: a local directory or a hub id; None is the default base."""
    engine: EngineChoice = "auto"
    context_tokens: Annotated[int, Field(ge=16)] = 2048
    sequences_max: Positive = 16
    adapter_slots: Positive = Field(
        default_factory=lambda given: adapter_slots_default(given, has_gpu=has_gpu())
    )
    """Different adapters that one replica uses at once. On a GPU each reserves memory for ``rank_max``."""
    rank_max: Annotated[int, Field(ge=1, le=512)] = 16
    warm_bytes_max: Annotated[int, Field(ge=MIB)] = 512 * MIB
    """Bytes of adapters that this machine's replicas keep in host memory, ready for their engines."""
    residency_policy: ResidencyPolicy = "segmented-lru"
    """Policy that chooses the adapter to evict from host memory; see `populace bench residency-policy`."""
    residency_trace: Path | None = None
    """Directory in which vLLM's replicas record which adapters are requested, and when; None turns it off."""
    encoder: str | None = None
    """Sentence encoder that recognises what questions in other words ask for: a directory with a BERT
    encoder, or ``none``, with which words alone decide it. None is all-MiniLM-L6-v2, fetched once (83 MB)."""
    memory_module: str | None = None
    """Memory module: a file, ``shipped`` for the one that comes with Populace, or ``none``.

    None is the shipped one for the default base, and none for other bases.
    """
    kv_cache_gib: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default_factory=lambda: 1.0 if psutil.virtual_memory().total < SMALL_MACHINE_BYTES else 4.0
    )

    training: TrainingMode = "auto"
    """``auto`` trains models that have enough feedback, ``asked`` only those with a request, ``off`` none,
    without a trainer. The trainer is a process of low priority, which loads the base when it needs it."""
    training_threads: Positive = 1
    """Compute threads of the trainer, beside those of the engines."""
    training_device: str = "cpu"
    """Device of the trainer's base: ``cpu``, or another by torch's name. vLLM occupies most of its GPU."""
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
    """What happens to a reply of a chat that has one passage of 8 to 128 tokens four times in a row, if the
    request does not say it: it ends there (``end``), or goes on (``keep``). With ``keep`` nothing keeps a
    chat's later replies from the words of earlier ones either."""
    task_prompts: TaskPrompts = "peek"
    """What the prompts for titles, tags or summaries are that chat front ends send by themselves: ``peek``
    leaves no trace in the person, ``turn`` is said to them like any other."""
    tool_parser: str | None = None
    """vLLM's name of the parser of the base's own calls of tools; None is that of its template, ``none`` is
    none."""
    tool_choice_auto: ToolChoiceAuto = "refuse"
    """What becomes of tools whose call is left to a base that cannot choose: ``refuse``, or ``none``, a reply
    in words with a warning."""
    turn_seconds_max: Seconds = 120.0
    idle_seconds_max: Seconds = 300.0
    resident_bytes_max: Annotated[int, Field(ge=MIB)] = 256 * MIB
    """Bytes of active personal models that one host keeps in memory."""
    mailbox_max: Positive = 16
    """Turns that may wait for one personal model."""
    waiting_max: Positive = 64
    """Requests that may wait for one engine, beyond the ``sequences_max`` running ones."""
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
    def allowed_origins(self) -> tuple[str, ...]:
        """``cors_origins``, each for itself, as browsers write them."""
        return origins_in(self.cors_origins)

    @field_validator("data", "cache", "config", "master_key", "residency_trace")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @field_validator("address")
    @classmethod
    def _is_address(cls, text: str | None) -> str | None:
        """Check the address; the one that OpenAI's clients are given ends in /v1."""
        return None if text is None else str(HttpUrl(text)).rstrip("/").removesuffix("/v1")

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
        for origin in origins_in(text):
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin: those are like https://chat.example.org, or *")
        return text

    @classmethod
    def from_environment(cls, **overrides: object) -> Self:
        """Read the environment; an override that is not None wins over its variable.

        Raises:
            SettingsError: a value is not allowed, or a variable is a near miss of a setting's name.
        """
        _refuse_misspelt(os.environ, cls.model_fields)
        given = {name: value for name, value in overrides.items() if value is not None}
        read = {name: value for name in cls.model_fields if (value := os.environ.get(variable_of(name)))}
        try:
            return cls.model_validate({**read, **given})
        except ValidationError as error:
            raise _settings_error(error, given) from None


def variable_of(field: str) -> str:
    """Return the name of a setting's environment variable."""
    return PREFIX + field.upper()


def origins_in(text: str | None) -> tuple[str, ...]:
    """Separate origins at commas."""
    return tuple(origin.strip().rstrip("/") for origin in (text or "").split(",") if origin.strip())


def hosts_default(cores: int) -> int:
    """Return one host process per four cores, and at least one: a host needs little beside an engine."""
    return max(1, cores // 4)


def threads_default(cores: int, given: Mapping[str, Any]) -> int:
    """Share the cores among the replicas that were ``given``; returns the threads of each."""
    return max(1, cores // given.get("replicas", 1))


def adapter_slots_default(given: Mapping[str, Any], *, has_gpu: bool) -> int:
    """Return one slot per concurrent request where slots cost nothing; on a GPU each is padded memory."""
    return ADAPTER_SLOTS_GPU if has_gpu else given.get("sequences_max", ADAPTER_SLOTS_GPU)


def unknown_variables() -> tuple[tuple[str, str | None], ...]:
    """Return the variables that are named like settings and are none, each with the nearest one, if any.

    They may be another program's, so ``from_environment`` leaves them alone.
    """
    names = {variable_of(name).removeprefix(PREFIX): variable_of(name) for name in Settings.model_fields}
    unknown = [name for name in sorted(os.environ) if name.startswith(PREFIX)]
    nearest = {
        variable: difflib.get_close_matches(variable.removeprefix(PREFIX), names, n=1)
        for variable in unknown
        if variable.removeprefix(PREFIX) not in names
    }
    return tuple((variable, names[found[0]] if found else None) for variable, found in nearest.items())


def _refuse_misspelt(environment: Mapping[str, str], fields: Mapping[str, object]) -> None:
    known = [variable_of(name) for name in fields]
    for variable, meant in _near_misses(environment, known):
        hint = f"there is no such setting, did you mean {meant}"
        raise SettingsError(variable, environment[variable], hint)


def _near_misses(environment: Mapping[str, str], known: list[str]) -> Iterator[tuple[str, str]]:
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or variable in known:
            continue
        # 0.85 catches one wrong, missing or swapped letter and leaves other tools' variables alone.
        for meant in difflib.get_close_matches(variable, known, n=1, cutoff=0.85):
            yield variable, meant


def _settings_error(error: ValidationError, given: Mapping[str, Any]) -> SettingsError:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    allowed = first["msg"].removeprefix("Value error, ").rstrip(".")
    value = None if first["input"] is None else str(first["input"])
    return SettingsError(name if name in given else variable_of(name), value, allowed)
