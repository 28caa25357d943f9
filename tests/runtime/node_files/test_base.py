"""A node has the base of the fingerprint, whole, or none; its module likewise. Paths decide nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]

from populace.actors.errors import EngineUnavailable, MemoryModuleInvalid
from populace.base.files import BaseInvalid, fingerprint
from populace.base.fingerprints import fetched_directory, find_base
from populace.hosting.shared_files import SharedFiles, SharedPaths
from populace.node_files import pieces
from populace.node_files.base import FETCHING, node_base
from populace.node_files.fetching import Fetching
from populace.node_files.memory_module import node_memory_module
from populace.node_files.pieces import SharedFile, Wanted
from populace.settings.environment import process_environment
from populace.storage.revisions import RevisionFiles
from tests.limits import HANG_SECONDS
from tests.runtime.node_files.file_hosts import BASE, MODULE, FindingHost, LocalFileHost, away, shared

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 512}
NEEDED_FILES = ("config.json", "tokenizer.json", "chat_template.jinja")
PIECE_BYTES = 1000
ABSENT = Path("/not/here")


class DiskUsage(NamedTuple):
    """What ``shutil.disk_usage`` returns."""

    total: int
    used: int
    free: int


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", PIECE_BYTES)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return write_base(tmp_path / "original", 1.0)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def write_base(directory: Path, weight: float) -> Path:
    """Write what a base needs, and two files that no node needs."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(CONFIG))
    (directory / "tokenizer.json").write_text("{}")
    (directory / "chat_template.jinja").write_text("{{ messages }}")
    save_file({"a": torch.full((30, 30), weight)}, directory / "model.safetensors")
    (directory / "pytorch_model.bin").write_bytes(b"pickle")
    (directory / "onnx").mkdir()
    return directory


def host_of(original: Path, **options: object) -> LocalFileHost:
    files = shared(original.parent / "revisions", original, base=fingerprint(original))
    return LocalFileHost(files, **options)  # type: ignore[arg-type]


def fetching(*hosts: LocalFileHost) -> Fetching:
    return Fetching(hosts, sleep=lambda _: None)


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_base_is_fetched_once_and_found_by_its_fingerprint_from_then_on(
    original: Path, cache: Path
) -> None:
    named, host = fingerprint(original), host_of(original)

    directory = node_base("small", named, ABSENT, cache, fetching(host))

    assert directory == fetched_directory(named, cache)
    assert names_in(directory) == {*NEEDED_FILES, "model.safetensors"}
    assert fingerprint(directory) == named
    assert node_base("small", named, ABSENT, cache, fetching()) == directory
    assert find_base(named, cache) == directory


def test_a_base_that_is_at_its_path_is_used_there(original: Path, cache: Path) -> None:
    assert node_base("small", fingerprint(original), original, cache, fetching()) == original


def test_another_base_at_the_same_path_is_never_used(original: Path, cache: Path, tmp_path: Path) -> None:
    other = write_base(tmp_path / "other", 2.0)
    named = fingerprint(original)
    # Its fingerprint is known from before, when it was the right one; then its weights were replaced.
    find_base(named, cache, original)
    (other / "model.safetensors").replace(original / "model.safetensors")

    assert find_base(named, cache, original) is None
    with pytest.raises(BaseInvalid, match="neither this node nor a host has"):
        node_base("small", named, original, cache, fetching(host_of(original)))


def test_a_base_that_was_met_elsewhere_on_this_node_is_not_fetched_again(original: Path, cache: Path) -> None:
    named = fingerprint(original)
    find_base(named, cache, original)

    assert node_base("small", named, ABSENT, cache, fetching()) == original


def test_a_damaged_copy_in_the_cache_is_replaced(original: Path, cache: Path) -> None:
    named = fingerprint(original)
    directory = node_base("small", named, ABSENT, cache, fetching(host_of(original)))
    (directory / "tokenizer.json").write_text("{ }")

    assert node_base("small", named, ABSENT, cache, fetching(host_of(original))) == directory
    assert fingerprint(directory) == named


def test_what_has_another_fingerprint_than_it_was_listed_with_leaves_nothing(
    original: Path, cache: Path, tmp_path: Path
) -> None:
    other = write_base(tmp_path / "other", 2.0)
    files = shared(tmp_path / "revisions", other, base=fingerprint(original))

    with pytest.raises(BaseInvalid, match="what the hosts sent has the fingerprint"):
        node_base("small", fingerprint(original), ABSENT, cache, fetching(LocalFileHost(files)))

    assert [path for path in (cache / "bases").iterdir() if path.is_dir()] == []


def test_a_file_that_changed_since_it_was_listed_is_refused(original: Path, cache: Path) -> None:
    def change(host: LocalFileHost) -> None:
        if host.pieces == 1:
            for name in NEEDED_FILES:
                size = (original / name).stat().st_size
                (original / name).write_bytes(b"x" * size)

    with pytest.raises(BaseInvalid, match="is not the one that it listed"):
        node_base("small", fingerprint(original), ABSENT, cache, fetching(host_of(original, fails=change)))
    assert find_base(fingerprint(write_base(cache / "same", 1.0)), cache) is None


def test_a_host_that_does_not_answer_leaves_what_the_next_start_goes_on_from(
    original: Path, cache: Path
) -> None:
    def killed(host: LocalFileHost) -> None:
        if host.pieces > 4:
            away(host)

    named, second = fingerprint(original), host_of(original)
    with pytest.raises(EngineUnavailable, match="populace-host-0 is restarting"):
        node_base("small", named, ABSENT, cache, fetching(host_of(original, fails=killed)))
    assert find_base(named, cache) is None
    assert (cache / "bases" / f"{FETCHING}{named}" / "config.json").exists()

    directory = node_base("small", named, ABSENT, cache, fetching(second))

    assert fingerprint(directory) == named
    assert second.pieces == -(-(original / "model.safetensors").stat().st_size // PIECE_BYTES) + 1


def test_a_process_that_is_killed_in_the_middle_leaves_no_base_and_no_lock(
    original: Path, cache: Path
) -> None:
    named = fingerprint(original)
    script = (
        "import sys, time; from pathlib import Path; "
        "from populace.node_files.base import node_base; from populace.node_files.fetching import Fetching; "
        "from tests.runtime.node_files.test_base import host_of\n"
        "def fails(host):\n"
        "    if host.pieces == 4: print('there', flush=True); time.sleep(600)\n"
        "node_base('small', sys.argv[1], Path('/not/here'), Path(sys.argv[3]), "
        "Fetching([host_of(Path(sys.argv[2]), fails=fails)]))"
    )
    command = [sys.executable, "-c", script, named, str(original), str(cache)]
    environment = process_environment(PYTHONPATH=os.pathsep.join([str(Path.cwd()), *sys.path]))
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    assert child.stdout.readline() == "there\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    assert find_base(named, cache) is None
    assert fingerprint(node_base("small", named, ABSENT, cache, fetching(host_of(original)))) == named


def test_of_two_processes_that_need_it_at_once_one_fetches_it(original: Path, cache: Path) -> None:
    host, named = host_of(original), fingerprint(original)
    there = threading.Barrier(2)

    def fetch() -> Path:
        there.wait(HANG_SECONDS)
        return node_base("small", named, ABSENT, cache, fetching(host))

    with ThreadPoolExecutor(2) as pool:
        found = {future.result() for future in [pool.submit(fetch), pool.submit(fetch)]}

    assert found == {fetched_directory(named, cache)}
    assert host.lists == 1


def test_a_disk_without_room_is_said_before_anything_comes(
    original: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nearly_full(_: Path) -> DiskUsage:
        return DiskUsage(10, 5, 5)

    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    host = host_of(original)

    with pytest.raises(BaseInvalid, match=r"it needs .* GB on this node .* POPULACE_CACHE"):
        node_base("small", fingerprint(original), ABSENT, cache, fetching(host))
    assert host.pieces == 0


def test_a_cache_that_cannot_be_written_is_named(original: Path, cache: Path) -> None:
    cache.write_text("a file")

    with pytest.raises(BaseInvalid, match="it cannot be kept on this node"):
        node_base("small", fingerprint(original), ABSENT, cache, fetching(host_of(original)))


def test_a_host_lists_only_what_a_node_needs_and_only_by_its_fingerprint(original: Path) -> None:
    host, named = host_of(original), fingerprint(original)
    config = original / "config.json"

    listed = host.files(Wanted("base", named))

    assert listed is not None
    digest = sha256(config.read_bytes()).hexdigest()
    assert SharedFile("config.json", config.stat().st_size, digest) in listed
    assert {file.name for file in listed}.isdisjoint({"pytorch_model.bin", "onnx"})
    assert host.files(Wanted("base", "d" * 64)) is None
    assert host.piece(Wanted("base", named), "pytorch_model.bin", 0, bytes(32)) is None


@pytest.fixture
def module_file(tmp_path: Path) -> Path:
    path = tmp_path / "module.safetensors"
    path.write_bytes(b"module" * 1000)
    return path


def test_a_memory_module_comes_by_its_digest(
    module_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = sha256(module_file.read_bytes()).hexdigest()
    monkeypatch.setattr("tests.runtime.node_files.file_hosts.MODULE", digest)
    host = LocalFileHost(shared(cache / "revisions", module=module_file))

    def find(path: Path, *hosts: LocalFileHost) -> Path:
        return node_memory_module(digest, "b" * 64, path, cache, fetching(*hosts))

    assert find(module_file) == module_file
    found = find(ABSENT, host)
    assert found.read_bytes() == module_file.read_bytes()
    assert found.is_relative_to(cache)
    assert find(ABSENT) == found
    found.write_bytes(b"damaged")
    assert find(ABSENT, host).read_bytes() == module_file.read_bytes()


def test_another_memory_module_is_refused(module_file: Path, cache: Path) -> None:
    host = LocalFileHost(shared(cache / "revisions", module=module_file))

    with pytest.raises(MemoryModuleInvalid, match="its digest is another one"):
        node_memory_module(MODULE, "b" * 64, module_file, cache, fetching(host))
    with pytest.raises(MemoryModuleInvalid, match="neither this node nor a host has"):
        node_memory_module("d" * 64, "b" * 64, module_file, cache, fetching(host))
    assert list((cache / "memory-modules").iterdir()) == []


async def test_a_base_that_is_brought_to_the_hosts_node_later_is_found_there(tmp_path: Path) -> None:
    """A host that goes on on another store node looks for it there; its log says what is missing."""
    adapters = RevisionFiles(tmp_path)

    async def host() -> FindingHost:
        return FindingHost(adapters)

    places = iter([tmp_path / "absent", tmp_path / "base"])
    files = SharedFiles(lambda: SharedPaths(BASE, next(places)), host)
    assert await files.files(Wanted("base", BASE)) is None

    write_base(tmp_path / "base", 1.0)

    assert await files.files(Wanted("base", BASE)) is not None
    assert await files.files(Wanted("base", BASE)) is not None, "it is not looked for again"
    files.close()
