"""Stores with real adapters for a small base, and archives that go between them."""

import io
import json
import zipfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from populace.actors.hosts import ModelView, Revision
from populace.actors.keepers.catalogue import model_view
from populace.actors.turn import ModelId
from populace.adapters.memory.state import StateFormat
from populace.adapters.publishing import imported_adapter
from populace.adapters.random_adapter import write_random_adapter
from populace.archive.adapter_check import check_adapters
from populace.archive.exporting import export_archive
from populace.archive.importing import AdapterCheck, import_archive
from populace.archive.reading import open_archive
from populace.storage.adapter_store import AdapterStore
from populace.storage.records.records import RevisionRecord
from populace.storage.revisions import CONFIG_FILE, TENSORS_FILE
from populace.storage.rows import ledger
from populace.storage.rows.portable import PortableModel
from populace.storage.shards.shard import Shard
from populace.storage.store import Store
from tests.storage.portable_models import bring_in, read, with_everything
from tests.storage.samples import TENANT, revision

BASE = "base-1"
BYTES_MAX = 64 * 2**20
RANK = 2
TARGETS = ("q_proj", "v_proj")

BASE_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 16,
}
"""All of a base that adapters are checked against."""

Members = dict[str, bytes]


class Home(NamedTuple):
    """A store with its one shard open, and the base that it serves."""

    store: Store
    shard: Shard
    destination: AdapterStore

    def export(self, tenant: str = TENANT, name: str = "ada") -> bytes:
        file = io.BytesIO()
        export_archive(file, name, self.store.revisions, lambda: read(self.shard, tenant, name))
        return file.getvalue()

    def take_in(
        self,
        data: bytes,
        tenant: str = TENANT,
        name: str | None = None,
        *,
        bytes_max: int = BYTES_MAX,
        check: AdapterCheck = check_adapters,
        states: StateFormat | None = None,
    ) -> ModelView:
        with open_archive(io.BytesIO(data), "x.populace", bytes_max=bytes_max) as archive:
            return import_archive(
                archive, tenant, name, self.destination, check=check, create=self._create, states=states
            )

    def add_adapter(self, directory: Path, *, seed: int) -> RevisionRecord:
        """Publish an adapter and answer a revision of it."""
        path = write_random_adapter(
            directory, self.destination.base_directory, seed=seed, rank=RANK, targets=TARGETS
        )
        with self.publishing(path) as added:
            return _revision(seed, added.digest, added.adapter_bytes)

    def add_older_adapter(self, directory: Path, *, seed: int) -> RevisionRecord:
        """Store an adapter as it was up to schema 3."""
        path = write_random_adapter(
            directory, self.destination.base_directory, seed=seed, rank=RANK, targets=TARGETS
        )
        config = (path / CONFIG_FILE).read_bytes()
        return _revision(seed, *self.store.revisions.add_directory(config, path / TENSORS_FILE))

    def publishing(self, adapter: Path) -> AbstractContextManager[Revision]:
        return imported_adapter(adapter, self.destination, now_ms=0)

    def content(self) -> tuple[dict[bytes, bytes], set[str]]:
        """All rows in plain, and the names in the adapters' folder."""
        with self.shard.read() as txn:
            rows = {key: value for key, value in txn.scan(b"") if not key.startswith(b"!")}
        folder = self.store.revisions.root
        return rows, {one.name for one in folder.iterdir()} - {".lock"} if folder.exists() else set()

    def _create(self, model: ModelId, content: PortableModel) -> ModelView:
        bring_in(self.shard, content, model.tenant, model.name, sealing=self.store.sealing)
        with self.shard.read() as txn:
            stored = ledger.read_model(txn, model.tenant, model.name)
        assert stored is not None
        return model_view(stored, active=False)


def _revision(seed: int, digest: str, size: int) -> RevisionRecord:
    changes = {"digest": digest, "rank": RANK, "adapter_bytes": size}
    return revision(created_ms=seed).model_copy(update=changes)


@contextmanager
def open_home(path: Path) -> Generator[Home]:
    base = path / "base"
    base.mkdir(parents=True)
    (base / "config.json").write_text(json.dumps(BASE_CONFIG))
    store = Store.create_or_open(path / "store", 1)
    shard = store.open_shard(0, "the test", map_bytes=1 << 26)
    try:
        yield Home(store, shard, AdapterStore(store.path, base, BASE, 16))
        shard.check_integrity()
    finally:
        shard.close()


def give_everything(home: Home, folder: Path) -> None:
    """The model ``ada`` with whatever a model can have."""
    revisions = [
        home.add_adapter(folder / "0", seed=0),
        home.add_older_adapter(folder / "1", seed=1),
        home.add_adapter(folder / "2", seed=2),
    ]
    with_everything(home.shard, revisions, sealing=home.store.sealing)


def members_of(data: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(members: Members, *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Pack the members as they are, whatever the manifest says of them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def sealed(members: Members, change: Callable[[dict[str, Any]], object] = lambda manifest: None) -> Members:
    """The members with a manifest that is true of them, and then changed."""
    manifest = json.loads(members["manifest.json"])
    manifest["members"] = {
        name: {"bytes": len(content), "sha256": sha256(content).hexdigest()}
        for name, content in members.items()
        if name != "manifest.json"
    }
    change(manifest)
    return {**members, "manifest.json": json.dumps(manifest).encode()}
