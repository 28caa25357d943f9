"""Where the parts of a Populace find their files on another node than the one that started them."""

import asyncio
import shutil
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from populace.actors.errors import HostUnavailable
from populace.base.files import fingerprint
from populace.base.fingerprints import fetched_directory
from populace.hosting.host_actor import HostActor
from populace.hosting.host_options import on_this_node, shared_paths
from populace.hosting.store_node import Home, own_base, own_module
from populace.settings.errors import ConfigFileInvalid, SettingsError
from populace.settings.settings import Settings
from populace.settings.sources import variable_of
from populace.storage.journal.options import JournalOptions
from populace.storage.store import Store
from tests.actors.fakes import BASE
from tests.actors.populations import host_options
from tests.limits import HANG_SECONDS
from tests.runtime.node_files.test_base import write_base

HOME = Home("first", "0" * 32, JournalOptions("file:///nowhere", is_sync=True, keep_seconds=1.0))


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory of the configuration of this process, which is on another node of Ray than ``HOME``."""
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.setenv("POPULACE_CONFIG", str(tmp_path))
    monkeypatch.setenv("POPULACE_DATA", str(tmp_path / "data"))
    second = SimpleNamespace(get_node_id=lambda: "second")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: second)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "code"),
    [("prot = 8000\n", ConfigFileInvalid.code), ("port = 0\n", SettingsError.code), ("[", "config_file")],
)
async def test_a_host_waits_for_settings_of_its_node_that_can_be_read(
    config: Path, text: str, code: str
) -> None:
    """Ray gives an actor up for good whose constructor raises."""
    (config / "populace.toml").write_text(text)
    options = host_options(Store.create_or_open(config / "first", 1))._replace(home=HOME)

    assert on_this_node(options) == options
    assert shared_paths(options).base == options.base.fingerprint
    host = HostActor(options)
    try:
        async with asyncio.timeout(HANG_SECONDS):
            while (problem := (await host.describe()).problem) is None:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert code in problem
        with pytest.raises(HostUnavailable):
            await host.call("statistics")
    finally:
        await host.close()


def test_another_base_or_module_at_the_first_nodes_path_is_not_used(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is trained on it would be served on the first one."""
    named = fingerprint(write_base(config / "first", 1.0))
    same_path = write_base(config / "base", 2.0)
    (config / "module").write_bytes(b"another module")
    monkeypatch.setenv("POPULACE_BASE", str(same_path))
    monkeypatch.setenv("POPULACE_MEMORY_MODULE", str(config / "module"))
    monkeypatch.setenv("POPULACE_CACHE", str(config / "cache"))
    module = sha256(b"the module").hexdigest()
    base = BASE._replace(fingerprint=named, memory_module=module)
    own = Settings.from_environment()

    assert not own_base(own, named).exists()
    missing = own_module(own, base)
    assert missing is not None
    assert not missing.exists()

    missing.parent.mkdir(parents=True)
    missing.write_bytes(b"the module")
    shutil.copytree(config / "first", fetched_directory(named, own.cache))
    assert own_module(own, base) == missing
    assert own_base(own, named) == fetched_directory(named, own.cache)
