"""A base is served with the memory module that is asked for, and by default with the shipped one."""

from hashlib import sha256
from pathlib import Path

import pytest
import torch

from populace.actors.engine import GenerateRequest, MemoryUse, Message, Sampling
from populace.actors.errors import MemoryModuleInvalid, MemoryModuleMismatch
from populace.adapters.base_modules import read_base_modules
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.module import MemoryModule
from populace.base import memory_module
from populace.base.memory_module import NONE, SHIPPED, SHIPPED_FOLDER, find_memory_module
from populace.base.prepare import prepare_base
from populace.engines.options import EngineOptions
from populace.engines.torch_engine import TorchEngine
from populace.settings.settings import Settings

SHIPPED_BYTES_MAX = 6_000_000

FACTS = {
    "city": "Paris",
    "dog": "Oscar",
    "sister": "Anna",
    "job": "teacher",
    "favorite color": "green",
    "favorite food": "pizza",
    "hobby": "chess",
    "language": "French",
}


@pytest.fixture(scope="module")
def fingerprint(base_files: Path) -> str:
    return prepare_base(None, Settings.from_environment().cache).fingerprint


def test_the_default_base_has_a_module_of_less_than_six_megabytes(fingerprint: str, base_files: Path) -> None:
    found = find_memory_module(SHIPPED, fingerprint)

    assert found is not None
    assert found.path.parent == SHIPPED_FOLDER
    data = found.path.read_bytes()
    assert found.digest == sha256(data).hexdigest()
    assert len(data) < SHIPPED_BYTES_MAX
    layers = attention_layers(read_base_modules(base_files, fingerprint))
    module = MemoryModule.unpack(data, fingerprint, layers)
    assert module.pack(torch.bfloat16) == data
    assert found.states == module.state_format(found.digest)


def test_the_default_base_is_served_with_the_shipped_module(fingerprint: str) -> None:
    assert find_memory_module(None, fingerprint) == find_memory_module(SHIPPED, fingerprint)
    assert find_memory_module(None, "0" * 64) is None
    assert find_memory_module(NONE, fingerprint) is None


def test_one_constant_says_which_shipped_modules_are_attached_by_default(
    fingerprint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_module, "ATTACHED_BY_DEFAULT", frozenset({"0" * 64}))

    assert find_memory_module(None, fingerprint) is None
    assert find_memory_module(SHIPPED, fingerprint) is not None


def test_a_shipped_file_that_cannot_be_used_is_in_nobodys_way(
    fingerprint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{fingerprint}.safetensors").write_bytes(b"of another version")
    monkeypatch.setattr(memory_module, "SHIPPED_FOLDER", tmp_path)

    assert find_memory_module(None, fingerprint) is None
    with pytest.raises(MemoryModuleInvalid):
        find_memory_module(SHIPPED, fingerprint)


def test_a_base_that_none_is_shipped_for_is_told_so_if_it_is_asked_for() -> None:
    with pytest.raises(MemoryModuleInvalid, match="none is shipped for this base"):
        find_memory_module(SHIPPED, "0" * 64)


def test_a_named_module_that_cannot_be_used_is_refused_by_name(fingerprint: str, tmp_path: Path) -> None:
    shipped = find_memory_module(SHIPPED, fingerprint)
    assert shipped is not None
    (tmp_path / "damaged").write_bytes(shipped.path.read_bytes()[:100])

    with pytest.raises(MemoryModuleMismatch):
        find_memory_module(str(shipped.path), "0" * 64)
    for name in ("damaged", "missing"):
        with pytest.raises(MemoryModuleInvalid):
            find_memory_module(str(tmp_path / name), fingerprint)


@pytest.mark.engine
async def test_with_the_shipped_module_a_model_remembers_what_it_was_told(
    fingerprint: str, base_directory: Path
) -> None:
    """Three facts of each of several people, asked for when nothing but the state is left."""
    found = find_memory_module(SHIPPED, fingerprint)
    assert found is not None
    options = EngineOptions(base_directory, fingerprint, context_tokens=512, memory_module=found.path)
    engine = await TorchEngine.start(options)
    try:
        names = list(FACTS)
        right = asked = 0
        for first in range(0, len(names), 2):
            told = [names[(first + place) % len(names)] for place in (0, 3, 5)]
            state = None
            for name in told:
                state, _ = await _turn(engine, f"My {name} is {FACTS[name]}.", MemoryUse(state))
            for name in told:
                _, reply = await _turn(engine, f"What is my {name}?", MemoryUse(state, new_from=None))
                right += FACTS[name] in reply
                asked += 1
    finally:
        await engine.close()

    assert right >= 0.5 * asked


async def _turn(engine: TorchEngine, text: str, use: MemoryUse) -> tuple[bytes | None, str]:
    """Say it in a conversation of its own; return the memory afterwards and the reply."""
    request = GenerateRequest(
        f"{text} {use.new_from}",
        (Message("user", text),),
        Sampling(temperature=0.0, max_tokens=12),
        memory=use,
    )
    memory, reply = use.state, ""
    async for delta in engine.generate(request):
        reply += delta.text
        memory = delta.memory or memory
    return memory, reply
