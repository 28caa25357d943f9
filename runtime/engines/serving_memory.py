"""The memory module that an engine serves, and the check of each state that comes in."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from populace.actors.engine import BaseInfo, MemoryUse
from populace.actors.errors import InvalidRequest, MemoryStateInvalid
from populace.actors.span_names import MEMORY_BYTES, MEMORY_LOAD
from populace.adapters.base_modules import BaseModules
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.module import MemoryModule, digest_of, read_packed
from populace.adapters.memory.state import StateFormat, Values
from populace.engines.options import EngineOptions
from populace.engines.prompts import WRITTEN_ROLES
from populace.engines.work_counter import WorkCounter
from populace.telemetry.tracing.spans import TRACER


class ServingMemory(NamedTuple):
    """A memory module, the path of its file, and the format of its states."""

    module: MemoryModule
    path: Path
    format: StateFormat

    @property
    def digest(self) -> str:
        return self.format.module

    def pack(self, values: bytes) -> bytes:
        """Pack a state of float32 values. Raises ``MemoryStateInvalid`` if a value is not finite."""
        return self.format.pack(np.frombuffer(values, np.float32).reshape(self.format.shape))


def read_serving_memory(path: Path | None, modules: BaseModules) -> ServingMemory | None:
    """Read the module's file for the base. Raises ``MemoryModuleInvalid`` or ``MemoryModuleMismatch``."""
    if path is None:
        return None
    assert modules.fingerprint is not None, "an engine knows its base"
    data = read_packed(path)
    module = MemoryModule.unpack(data, modules.fingerprint, attention_layers(modules))
    return ServingMemory(module, path.resolve(), module.state_format(digest_of(data)))


def served_base(options: EngineOptions, memory: ServingMemory | None) -> BaseInfo:
    """Describe the base that an engine serves with these options and this memory module."""
    return BaseInfo(
        options.name,
        options.fingerprint,
        options.context_tokens,
        None if memory is None else memory.digest,
        tool_parser=options.tool_parser,
    )


def starting_state(memory: ServingMemory | None, use: MemoryUse | None, work: WorkCounter) -> Values | None:
    """Decode the state [L, N, R, R] that a request starts from, and count it; None: it uses no memory.

    Raises:
        InvalidRequest: the engine has no memory module.
        MemoryStateMismatch: the state was written with another one.
        MemoryStateInvalid: the state is damaged.
    """
    if use is None or (not use.read and use.new_from is None):
        return None
    if memory is None:
        raise InvalidRequest("This base is served without a memory module.", "memory")
    if use.state is None:
        return memory.format.empty()
    try:
        with TRACER.span(MEMORY_LOAD, {MEMORY_BYTES: len(use.state)}):
            state = memory.format.unpack(use.state)
    except MemoryStateInvalid:
        work.memory_refused += 1
        raise
    work.memory_loads += 1
    work.memory_loaded_bytes += len(use.state)
    return state


def written_from(use: MemoryUse | None) -> int | None:
    """Return the first message of the prompt that is written, None if none is."""
    return None if use is None else use.new_from


def written_roles(memory: ServingMemory | None) -> frozenset[str]:
    """Return the roles whose messages are written: a gated module writes only the person's."""
    gated = memory is not None and memory.module.shape.gated
    return frozenset({"user"}) if gated else WRITTEN_ROLES
