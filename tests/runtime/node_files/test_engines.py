"""Both engines compare what they read of an adapter with its digest, and open it by way of their files."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest
import torch

from populace.actors.engine import AdapterRef, GenerateRequest, Sampling
from populace.actors.errors import AdapterInvalid
from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.adapters.packing import pack_peft_directory, read_adapter
from populace.adapters.random_adapter import write_random_adapter
from populace.adapters.serving_image import serving_image
from populace.engines.options import EngineOptions
from populace.engines.torch_engine import TorchEngine
from populace.node_files.adapters import NodeAdapters
from populace.node_files.fetching import Fetching
from populace.storage.revisions import RevisionFiles
from populace.storage.warm_files import WarmFiles
from tests.runtime.node_files.file_hosts import LocalFileHost, shared
from tests.small_base import make_small_base

pytestmark = pytest.mark.engine

ABSENT = "/not/here"


@pytest.fixture(scope="module")
def small_base(base_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_base(tmp_path_factory.mktemp("base"), base_directory)


@pytest.fixture(scope="module")
def modules(small_base: Path) -> BaseModules:
    return read_base_modules(small_base, "f" * 64)


@pytest.fixture
def revisions(tmp_path: Path) -> RevisionFiles:
    return RevisionFiles(tmp_path / "revisions")


@pytest.fixture
def adapters(tmp_path: Path, revisions: RevisionFiles) -> NodeAdapters:
    """Those of a node that asks the host of the revisions."""
    return NodeAdapters(
        Fetching([LocalFileHost(shared(revisions.root))], sleep=lambda _: None),
        WarmFiles(tmp_path / "warm"),
    )


@pytest.fixture
def stored(
    small_base: Path, modules: BaseModules, revisions: RevisionFiles, tmp_path: Path
) -> dict[str, AdapterRef]:
    """A packed adapter and a directory of schema 3, by kind, at their places in the store."""
    peft = write_random_adapter(tmp_path / "peft", small_base, seed=1, rank=4, targets=("q_proj",), scale=1.0)
    packed, _ = revisions.add(pack_peft_directory(peft, modules, rank_max=16))
    config = (peft / "adapter_config.json").read_bytes()
    directory, _ = revisions.add_directory(config, peft / "adapter_model.safetensors")
    return {
        "packed": AdapterRef(packed, str(revisions.path(packed))),
        "directory": AdapterRef(directory, str(revisions.path(directory))),
    }


@pytest.fixture
async def engine(small_base: Path, adapters: NodeAdapters) -> AsyncGenerator[TorchEngine]:
    options = EngineOptions(small_base, "f" * 64, 256, adapter_slots=2, threads=1)
    engine = await TorchEngine.start(options, adapters=adapters)
    yield engine
    await engine.close()
    adapters.close()


async def reply(engine: TorchEngine, adapter: AdapterRef) -> list[float]:
    """The first token's probabilities, in which adapters differ where replies may not."""
    sampling = Sampling(max_tokens=1, temperature=0.0, logprobs=3)
    async with aclosing(engine.generate(GenerateRequest("request", "hello", sampling, adapter))) as deltas:
        return [row.logprob async for delta in deltas for row in delta.logprobs]


@pytest.mark.parametrize("kind", ["packed", "directory"])
async def test_the_torch_engine_serves_what_it_fetched_as_what_it_has(
    engine: TorchEngine, adapters: NodeAdapters, stored: dict[str, AdapterRef], kind: str
) -> None:
    here = stored[kind]
    there = here._replace(path=ABSENT)
    await engine.prepare(there)
    assert not engine.has(here.digest)
    fetched = await reply(engine, there)
    assert engine.has(here.digest)
    await engine.forget(here)

    assert fetched == await reply(engine, here)
    assert [path for path in adapters.scratch.iterdir() if path.name != ".lock"] == []


@pytest.mark.parametrize("kind", ["packed", "directory"])
async def test_the_torch_engine_refuses_other_bytes_at_the_path(
    engine: TorchEngine, stored: dict[str, AdapterRef], kind: str
) -> None:
    path, other = stored[kind].path, "d" * 64

    for ask in (reply, TorchEngine.prepare):
        with pytest.raises(AdapterInvalid, match=f"its digest is {stored[kind].digest} and not {other}"):
            await ask(engine, AdapterRef(other, path))
        with pytest.raises(AdapterInvalid, match="no host of this Populace has its file"):
            await ask(engine, AdapterRef(other, ABSENT))
    assert not engine.has(other)


@pytest.mark.parametrize("kind", ["packed", "directory"])
async def test_the_warm_tier_makes_the_same_image_of_what_it_fetched(
    modules: BaseModules,
    small_base: Path,
    adapters: NodeAdapters,
    stored: dict[str, AdapterRef],
    tmp_path: Path,
    kind: str,
) -> None:
    from populace.engines.vllm_start import warm_tier

    here = stored[kind]
    options = EngineOptions(small_base, "f" * 64, 256, warm_directory=tmp_path / "images")
    tier = warm_tier(modules, options, torch.bfloat16, adapters)

    lease = await tier.lease(here._replace(path=ABSENT))

    image = serving_image(read_adapter(Path(here.path), modules, rank_max=16), torch.bfloat16)
    assert lease.path.read_bytes() == bytes(image)
    assert lease.path.is_relative_to(tmp_path / "images")
    assert [path for path in adapters.scratch.iterdir() if path.name != ".lock"] == []
    with pytest.raises(AdapterInvalid, match=f"its digest is {here.digest} and not"):
        await tier.lease(AdapterRef("d" * 64, here.path))
    assert tier.has(here.digest)
    lease.release()
    tier.forget(here.digest)
    assert not tier.has(here.digest)
    tier.close()
    adapters.close()
