"""All names of spans and of their attributes, in one place: dashboards and collectors know them.

What a model does is named by OpenTelemetry's semantic conventions for generative AI, HTTP and errors by its
general ones, both as of one release. The first are not stable yet: a change of theirs is taken over here, in
a release that says so. What has no name there begins with ``populace``.
"""

from typing import Final

SEMANTIC_CONVENTIONS: Final = "https://opentelemetry.io/schemas/1.41.0"
"""The schema that exported spans name."""

# Spans. Those of HTTP are named `{method} {route}`, those of a model `chat {base}`.
HOST_CALL: Final = "populace.host"
"""The beginning of the name of a host's call, such as ``populace.host.begin_turn``."""
MAILBOX_WAIT: Final = "populace.mailbox.wait"
ACTIVATE: Final = "populace.activate"
RETRIEVE: Final = "populace.retrieve"
COMMIT: Final = "populace.commit"
FSYNC: Final = "populace.store.fsync"
GENERATE: Final = "populace.engine.generate"
ADMISSION_WAIT: Final = "populace.engine.admission"
QUEUE: Final = "populace.engine.queue"
PREFILL: Final = "populace.engine.prefill"
DECODE: Final = "populace.engine.decode"
ADAPTER_LOAD: Final = "populace.adapter.load"
MEMORY_LOAD: Final = "populace.memory.load"
WORKER_CALL: Final = "populace.engine.worker_call"
"""A call of the engine's own processes beside its steps, such as ``take_memory_state``."""
TRAIN: Final = "populace.train"
TRAIN_PREPARE: Final = "populace.train.prepare"
TRAIN_STEPS: Final = "populace.train.steps"
TRAIN_GATE: Final = "populace.train.gate"
TRAIN_PROMOTE: Final = "populace.train.promote"

# Attributes of the conventions.
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"
URL_SCHEME: Final = "url.scheme"
ERROR_TYPE: Final = "error.type"
OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
MAX_TOKENS: Final = "gen_ai.request.max_tokens"
TEMPERATURE: Final = "gen_ai.request.temperature"
TOP_P: Final = "gen_ai.request.top_p"
TOP_K: Final = "gen_ai.request.top_k"
SEED: Final = "gen_ai.request.seed"
FREQUENCY_PENALTY: Final = "gen_ai.request.frequency_penalty"
PRESENCE_PENALTY: Final = "gen_ai.request.presence_penalty"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_SECONDS: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"

PROCESS_ENDED: Final = "process_ended"
"""The error type of a span that its process's end cut off."""

CHAT: Final = "chat"
TEXT_COMPLETION: Final = "text_completion"
EMBEDDINGS: Final = "embeddings"
"""The values of ``OPERATION_NAME`` here: what reads messages, what reads a raw prompt, and what embeds."""
PROVIDER: Final = "populace"

# Attributes of a resource, which is a process.
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE: Final = "service.instance.id"
HOST_NAME: Final = "host.name"
PROCESS_ID: Final = "process.pid"
PROCESS: Final = "populace.process"
NUMBER: Final = "populace.number"

# Our own attributes.
REQUEST_ID: Final = "populace.request_id"
"""The request's ``X-Request-Id``, or the job's ``job-…``: what ``populace trace`` is asked for."""
TENANT: Final = "populace.tenant"
"""The keyed hash of the tenant whose key the request has, who may read what is below this span."""
MODEL: Final = "populace.model"
"""The keyed hash of a personal model's tenant and name."""
HOST: Final = "populace.host.name"
STREAM: Final = "populace.stream"
ADAPTER: Final = "populace.adapter"
"""The first digits of the digest of the revision that a span is about."""
REPLAYED: Final = "populace.replayed"
LOG_POSITION: Final = "populace.log_position"
MEMORY_BYTES: Final = "populace.memory.bytes"
FINISHED: Final = "populace.finished"
"""False: the reader left before the reply had ended."""
WORKER_METHOD: Final = "populace.engine.method"
SHARED: Final = "populace.shared"
"""Whether another request had begun the load already."""
JOB: Final = "populace.train.job"
METHOD: Final = "populace.train.method"
JOB_STATE: Final = "populace.train.state"
TURNS: Final = "populace.train.turns"
STEPS: Final = "populace.train.steps_taken"
TOKENS: Final = "populace.train.tokens"
PROMOTES: Final = "populace.train.promotes"

ADAPTER_DIGITS: Final = 8
