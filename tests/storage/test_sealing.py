"""What is sealed can be read with its own model's key alone, at its own place alone."""

import os
import stat
from pathlib import Path

import pytest

from populace.storage.records import keys
from populace.storage.records.errors import MasterKeyRefused, RecordInvalid
from populace.storage.records.master_key import MasterKey
from populace.storage.records.records import DataKeyRecord, InteractionRecord
from populace.storage.records.sealing import Sealing
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import ledger
from populace.storage.shards.pages import read_snapshot
from populace.storage.shards.shard import Shard
from populace.storage.store import Store
from tests.storage.conftest import MAP_BYTES
from tests.storage.samples import SEALING, TENANT, commit, create_model, identity, open_shard

FIRST, SECOND = keys.interaction(TENANT, "ada", 0), keys.interaction(TENANT, "ada", 1)


def raw_rows(path: Path) -> dict[bytes, bytes]:
    """Read the rows as they are on disk, in the state of the last commit."""
    with read_snapshot(path) as txn:
        return dict(txn.scan(b""))


@pytest.fixture
def talked(shard_path: Path) -> Path:
    """A closed shard in which ada and ben each said something."""
    shard = open_shard(shard_path, map_bytes=MAP_BYTES)
    for name in ("ada", "ben"):
        shard.write([lambda txn, name=name: create_model(txn, identity(name))])
        for position in range(2):
            shard.write(
                [lambda txn, name=name, at=position: commit(txn, at, f"{name}-secret-{at}", name=name)]
            )
    shard.close()
    return shard_path


def forge(path: Path, rows: dict[bytes, bytes], *, sealing: Sealing = SEALING) -> Shard:
    """Put values into the file as somebody would who can write to it but has no keys."""

    class Plain(Sealing):
        def seal(self, cipher: object, key: bytes, value: bytes) -> bytes:
            return value

    shard = Shard.open(path, 0, 1, "the forger", sealing=Plain(sealing.master_key), map_bytes=MAP_BYTES)

    def put(txn: WriteTransaction) -> None:
        for key, value in rows.items():
            txn.put(key, value)

    [outcome] = shard.write([put])
    assert outcome is None
    shard.close()
    return open_shard(path, map_bytes=MAP_BYTES)


def test_nothing_that_was_said_is_on_the_disk_in_plain(talked: Path) -> None:
    with Path(next(talked.glob("*/data.mdb"))).open("rb") as file:
        data = file.read()

    for text in (b"Hello.", b"turn 1", b"secret", b"body"):
        assert text not in data


def test_what_was_sealed_is_read_back_and_every_value_differs(talked: Path) -> None:
    shard = open_shard(talked, map_bytes=MAP_BYTES)

    with shard.read() as txn:
        assert [made.reply for made in ledger.read_log(txn, TENANT, "ada")] == ["Hello.", "Hello."]
    sealed = [value for key, value in raw_rows_of(shard).items() if keys.is_sealed(key)]
    assert len(sealed) == len(set(sealed)) == 8
    assert {value[0] for value in sealed} == {1}
    shard.close()


def raw_rows_of(shard: Shard) -> dict[bytes, bytes]:
    shard.close()
    rows = raw_rows(shard.path)
    shard.reopen()
    return rows


@pytest.mark.parametrize(
    ("place", "source"),
    [
        pytest.param(SECOND, FIRST, id="another position"),
        pytest.param(FIRST, keys.interaction(TENANT, "ben", 0), id="another person"),
        pytest.param(FIRST, keys.operation(TENANT, "ada", "ada-secret-0"), id="another kind"),
    ],
)
def test_no_sealed_row_passes_for_another(talked: Path, place: bytes, source: bytes) -> None:
    rows = raw_rows(talked)
    shard = forge(talked, {place: rows[source]})

    with pytest.raises(RecordInvalid, match="interaction"), shard.read() as txn:
        ledger.read_log(txn, TENANT, "ada")
    shard.close()


@pytest.mark.parametrize("at", [0, 1, 5, 20, -1])
def test_a_bit_that_changed_anywhere_is_noticed(talked: Path, at: int) -> None:
    value = bytearray(raw_rows(talked)[FIRST])
    value[at] ^= 1
    shard = forge(talked, {FIRST: bytes(value)})

    with pytest.raises(RecordInvalid, match="interaction"), shard.read() as txn:
        txn.get(FIRST)
    shard.close()


def test_a_plain_row_where_a_sealed_one_must_be_is_refused(talked: Path) -> None:
    shard = open_shard(talked, map_bytes=MAP_BYTES)
    with shard.read() as txn:
        plain = txn.get(FIRST)
    shard.close()
    assert plain is not None
    assert InteractionRecord.unpack(plain).reply == "Hello."

    forged = forge(talked, {FIRST: plain})

    with pytest.raises(RecordInvalid, match="not sealed"), forged.read() as txn:
        txn.get(FIRST)
    forged.close()


def test_another_models_data_key_opens_nothing(talked: Path) -> None:
    rows = raw_rows(talked)
    shard = forge(talked, {keys.data_key(TENANT, "ada"): rows[keys.data_key(TENANT, "ben")]})

    with pytest.raises(RecordInvalid), shard.read() as txn:
        txn.get(FIRST)
    shard.close()


def test_a_lost_data_key_is_named_and_is_never_made_anew(talked: Path) -> None:
    shard = open_shard(talked, map_bytes=MAP_BYTES)
    shard.write([lambda txn: txn.delete(keys.data_key(TENANT, "ada"))])

    with pytest.raises(RecordInvalid, match="data_key"), shard.read() as txn:
        txn.get(FIRST)
    [outcome] = shard.write([lambda txn: commit(txn, 2, "another")])
    assert isinstance(outcome, RecordInvalid)
    with pytest.raises(AssertionError, match="no data key"):
        shard.check_integrity()
    shard.close()


def test_the_same_rows_under_another_master_key_are_refused(talked: Path) -> None:
    other = Sealing(MasterKey.generate())
    shard = Shard.open(talked, 0, 1, "a thief", sealing=other, map_bytes=MAP_BYTES)

    with pytest.raises(RecordInvalid, match="data_key"), shard.read() as txn:
        txn.get(FIRST)
    shard.close()


def test_data_keys_are_different_and_bound_to_their_ids() -> None:
    one, other = SEALING.new_data_key(), SEALING.new_data_key()
    assert one.key_id != other.key_id

    mixed = DataKeyRecord(key_id=one.key_id, wrapped=other.wrapped)

    with pytest.raises(RecordInvalid, match="data_key"):
        SEALING.cipher(mixed.pack())


def test_a_new_store_has_a_master_key_for_its_owner_alone(tmp_path: Path) -> None:
    store = Store.create_or_open(tmp_path / "store", 1)

    file = tmp_path / "store" / "master.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert MasterKey.load(file).key_id == store.sealing.master_key.key_id
    assert store.sealing.master_key.key_id.encode() in (tmp_path / "store" / "store.json").read_bytes()


def test_the_master_key_may_lie_elsewhere(tmp_path: Path) -> None:
    key = tmp_path / "safe" / "key"
    store = Store.create_or_open(tmp_path / "store", 1, master_key=key)

    assert not (tmp_path / "store" / "master.key").exists()
    again = Store.open(tmp_path / "store", master_key=key)
    assert again.sealing.master_key.key_id == store.sealing.master_key.key_id
    with pytest.raises(MasterKeyRefused, match="cannot be read"):
        Store.open(tmp_path / "store")


@pytest.mark.parametrize(
    "content", [b"", b"populace-master-key-1 \n", b"populace-master-key-1 AAAA\n", b"\xff" * 99]
)
def test_a_file_that_holds_no_master_key_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    Store.create_or_open(tmp_path, 1)
    (tmp_path / "master.key").write_bytes(content)

    for opening in (Store.open, Store.create_or_open):
        with pytest.raises(MasterKeyRefused, match=r"master\.key"):
            opening(tmp_path)
    assert (tmp_path / "master.key").read_bytes() == content


def test_the_master_key_of_another_store_is_refused_and_a_lost_one_is_not_replaced(tmp_path: Path) -> None:
    Store.create_or_open(tmp_path, 1)

    MasterKey.generate().save(tmp_path / "master.key")
    with pytest.raises(MasterKeyRefused, match="another store"):
        Store.create_or_open(tmp_path)

    (tmp_path / "master.key").unlink()
    with pytest.raises(MasterKeyRefused, match="cannot be read"):
        Store.create_or_open(tmp_path)
    assert not (tmp_path / "master.key").exists()


def test_a_master_key_is_read_from_a_file_alone(tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(MasterKeyRefused, match="not a file"):
            MasterKey.load(path)
    with large.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(MasterKeyRefused, match="does not hold"):
        MasterKey.load(large)
