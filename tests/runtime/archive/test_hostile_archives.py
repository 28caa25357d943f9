"""Nothing that is not a whole and sound archive gets in, whoever made it and however."""

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from populace.actors.errors import AdapterInvalid, AdapterMismatch, InvalidName
from populace.actors.memory import Memory
from populace.adapters.memory.state import StateFormat
from populace.archive.adapter_check import check_adapters_apart
from populace.archive.layout import MEMBERS_MAX, VERSION
from populace.archive.reading import open_archive, open_archive_file
from populace.storage.adapter_store import AdapterStore
from populace.storage.records.errors import ArchiveInvalid, ModelExists
from populace.storage.records.records import MemoryRecord
from populace.storage.rows import log
from tests.runtime.archive.homes import BYTES_MAX, Home, Members, members_of, open_home, pack, sealed
from tests.storage.portable_models import fresh, run, take
from tests.storage.samples import TENANT, interaction

Change = Callable[[Members], Members]
ManifestChange = Callable[[dict[str, Any]], object]


@pytest.fixture
def data(home: Home) -> bytes:
    return home.export()


@pytest.fixture
def members(data: bytes) -> Members:
    return members_of(data)


@pytest.fixture(autouse=True)
def nothing_was_imported(other: Home) -> Iterator[None]:
    before = other.content()
    yield
    assert other.content() == before


def refused(other: Home, data: bytes, **options: Any) -> str:
    with pytest.raises(ArchiveInvalid) as raised:
        other.take_in(data, **options)
    return raised.value.reason


def adapter_member(members: Members, file: str) -> str:
    return next(name for name in sorted(members) if name.endswith(file))


def test_a_bit_that_flipped_in_any_member_is_found(other: Home, data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    for entry in entries:
        refused(other, flipped(data, begin_of(data, entry) + entry.compress_size // 2, 4))


def test_a_bit_that_flipped_anywhere_is_found_or_changes_nothing(data: bytes, members: Members) -> None:
    found = 0
    for at in range(len(data)):
        try:
            with open_archive(
                io.BytesIO(flipped(data, at, at % 8)), "x.populace", bytes_max=BYTES_MAX
            ) as archive:
                read = {name: archive.read(name) for name in archive.manifest.members}
        except ArchiveInvalid:
            found += 1
        else:
            # Times, attributes, and what deflate ends its blocks with: nothing of it is read.
            assert {**read, "manifest.json": members["manifest.json"]} == members, at
    assert found > len(data) * 0.8


def flipped(data: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


def begin_of(data: bytes, entry: zipfile.ZipInfo) -> int:
    """Where the member's packed bytes begin."""
    names_bytes, extra_bytes = struct.unpack_from("<2H", data, entry.header_offset + 26)
    return entry.header_offset + 30 + names_bytes + extra_bytes


def test_a_changed_member_with_sums_of_its_own_is_found_by_the_manifest(
    other: Home, members: Members
) -> None:
    for name in sorted(set(members) - {"manifest.json"}):
        content = members[name]
        at = -1 if name.endswith(".safetensors") else max(map(content.rfind, (b"1", b"2", b"3", b"6", b"8")))
        changed = bytearray(content)
        changed[at] ^= 1

        assert (
            refused(other, pack({**members, name: bytes(changed)}))
            == f"{name} is not what manifest.json says"
        )


def test_a_file_that_was_cut_off_anywhere_is_refused(other: Home, data: bytes) -> None:
    for size in (*range(0, len(data), 997), len(data) - 1):
        refused(other, data[:size])


def test_a_file_with_anything_behind_it_is_refused(other: Home, data: bytes) -> None:
    refused(other, data + b"\0")


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 5000, b"PK\5\6" + bytes(18), os.urandom(4000)])
def test_what_is_no_archive_is_refused(other: Home, content: bytes) -> None:
    refused(other, content)


@pytest.mark.parametrize(
    "name", ["log.jsonl", "operations.jsonl", "revisions.jsonl", "manifest.json", "memory.safetensors"]
)
def test_a_missing_member_is_named(other: Home, members: Members, name: str) -> None:
    del members[name]

    assert name in refused(other, pack(members))


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_half_an_adapter_is_refused(other: Home, members: Members, file: str) -> None:
    name = adapter_member(members, file)
    del members[name]

    assert refused(other, pack(sealed(members))) == f"{name} is missing"


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        "/etc/passwd",
        "revisions/../../escaped",
        f"revisions/{'A' * 64}/adapter_config.json",
        f"revisions/{'0' * 64}/../x",
        f"revisions/{'0' * 64}/evil.py",
        "log.jsonl/",
        "LOG.JSONL",
        "x" * 60_000,
    ],
)
def test_a_member_that_is_no_part_of_a_model_is_refused(other: Home, members: Members, name: str) -> None:
    refused(other, pack(sealed({**members, name: b"x"})))


def test_a_member_that_is_there_twice_is_refused(other: Home, data: bytes, members: Members) -> None:
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("log.jsonl", members["log.jsonl"])

    assert refused(other, file.getvalue()) == "it holds log.jsonl twice"


def test_a_member_that_the_manifest_does_not_name_is_refused(other: Home, members: Members) -> None:
    extra = f"revisions/{'0' * 64}/adapter_config.json"

    assert refused(other, pack({**members, extra: b"{}"})) == f"{extra} is not in manifest.json"


MANIFESTS: dict[str, ManifestChange] = {
    "another format": lambda manifest: manifest.update(format="zip of mine"),
    "a newer version": lambda manifest: manifest.update(version=VERSION + 1),
    "no version": lambda manifest: manifest.update(version=0),
    "a version that is a text": lambda manifest: manifest.update(version="1"),
    "another base": lambda manifest: manifest.update(base="base-2"),
    "a field of later": lambda manifest: manifest.update(later=1),
    "no head": lambda manifest: manifest.pop("head"),
    "another head": lambda manifest: manifest["head"].update(log_position=7),
    "a head with more": lambda manifest: manifest["head"].update(more=1),
    "a head with other bytes": lambda manifest: manifest.update(head={"stored": "gqE="} | manifest["head"]),
    "a head with no bytes": lambda manifest: manifest.update(head={"stored": 5} | manifest["head"]),
    "a head beyond numbers": lambda manifest: manifest["head"].update(cursor=2**200),
    "an alias of nothing": lambda manifest: manifest["aliases"].update(x="0" * 64),
    "a forbidden alias": lambda manifest: manifest.update(aliases={"../x": manifest["aliases"]["latest"]}),
    "a time before time": lambda manifest: manifest.update(created_ms=-(2**80)),
    "a negative size": lambda manifest: manifest["members"]["log.jsonl"].update(bytes=-1),
    "another size": lambda manifest: manifest["members"]["log.jsonl"].update(bytes=1),
    "another sum": lambda manifest: manifest["members"]["log.jsonl"].update(sha256="0" * 64),
}


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_that_is_not_true_is_refused(
    other: Home, members: Members, change: ManifestChange
) -> None:
    refused(other, pack(sealed(members, change)))


def test_the_two_versions_and_the_two_bases_are_named(other: Home, members: Members) -> None:
    newer = refused(other, pack(sealed(members, MANIFESTS["a newer version"])))
    foreign = refused(other, pack(sealed(members, MANIFESTS["another base"])))

    assert newer == f"it has version {VERSION + 1}, and this release reads up to {VERSION}"
    assert foreign == "its base is base-2, and here it is base-1"


def without_a_turn(members: Members) -> Members:
    return {**members, "log.jsonl": members["log.jsonl"].split(b"\n", 1)[1]}


def log_line(change: Callable[[dict[str, Any]], object]) -> Change:
    def changed(members: Members) -> Members:
        first, rest = members["log.jsonl"].split(b"\n", 1)
        fields = json.loads(first)
        change(fields)
        return {**members, "log.jsonl": json.dumps(fields).encode() + b"\n" + rest}

    return changed


def log_of(line: bytes) -> Change:
    return lambda members: {**members, "log.jsonl": line + members["log.jsonl"]}


def replaced(name: str, old: bytes, new: bytes) -> Change:
    return lambda members: {**members, name: members[name].replace(old, new)}


def another_config(members: Members, adapter: int) -> Members:
    """A sound one, which is not the one of the digest. One of the adapters is of an earlier store."""
    name = sorted(name for name in members if name.endswith("config.json"))[adapter]
    return {name: members[name] + b"\n"}


CONTENTS: dict[str, Change] = {
    "a turn is missing": without_a_turn,
    "a turn was changed": log_line(lambda turn: turn.update(reply="Other.")),
    "a turn has bytes of another": log_line(lambda turn: turn.update(stored="kgGA")),
    "a text is a lone surrogate": log_line(lambda turn: turn.update(reply="\ud800")),
    "a count is beyond numbers": log_line(lambda turn: turn.update(prompt_tokens=2**64)),
    "a count is a text": log_line(lambda turn: turn.update(prompt_tokens="3")),
    "hex is no hex": log_line(lambda turn: turn.update(previous="zz")),
    "an empty line": log_of(b"\n"),
    "a line of nothing": log_of(b"null\n"),
    "a line that is deep": log_of(b"[" * 100_000 + b"\n"),
    "a stored line that is deep": log_of(b'{"stored":"", "x":' + b"[" * 100_000 + b"\n"),
    "a stored line that is cut": log_of(b'{"stored":"\n'),
    "a line without an end": lambda members: {**members, "log.jsonl": members["log.jsonl"][:-1]},
    "no operations' lines but a text": lambda members: {**members, "operations.jsonl": b"hello\n"},
    "the operations twice": lambda members: {
        **members, "operations.jsonl": members["operations.jsonl"] * 2
    },
    "a revision twice": lambda members: {**members, "revisions.jsonl": members["revisions.jsonl"] * 2},
    "revisions that the adapters are not of": lambda members: {**members, "revisions.jsonl": b""},
    "a revision of another size": replaced("revisions.jsonl", b'"adapter_bytes":', b'"adapter_bytes":1'),
    "a revision of another rank": replaced("revisions.jsonl", b'"rank":2', b'"rank":3'),
    "a memory that is no tensor": lambda members: {**members, "memory.safetensors": b"\x05" + bytes(100)},
    "a memory with another version": replaced("memory.safetensors", b"6}", b"7}"),
    "a memory of nothing": lambda members: {**members, "memory.safetensors": b""},
    "a memory that is a snapshot": lambda members: {
        **members, "memory.safetensors": members["snapshot.safetensors"]
    },
    "a memory of other numbers": replaced("memory.safetensors", b'"U8"', b'"I8"'),
    "another adapter": lambda members: members | another_config(members, 0),
    "another second adapter": lambda members: members | another_config(members, 1),
    "another third adapter": lambda members: members | another_config(members, 2),
}  # fmt: skip


@pytest.mark.parametrize("change", CONTENTS.values(), ids=CONTENTS)
def test_contents_that_are_not_sound_are_refused(other: Home, members: Members, change: Change) -> None:
    changed = change(members)
    assert changed != members

    refused(other, pack(sealed(changed)))


TURNS: dict[str, tuple[str, str, str]] = {
    "a note that is no JSON": ("user", "Hi.", "{"),
    "a note of nothing": ("user", "Hi.", "null"),
    "a note that is deep": ("user", "Hi.", "[" * 100_000),
    "a note without a model": ("user", "Hi.", '{"items": 1}'),
    "a note of no items": ("user", "Hi.", '{"items": 0, "model": "ada"}'),
    "a note of items in words": ("user", "Hi.", '{"items": "all", "model": "ada"}'),
    "a note with other metadata": ("user", "Hi.", '{"items": 1, "model": "ada", "metadata": []}'),
    "a conversation that is no JSON": ("conversation", "{", ""),
    "a conversation with other metadata": ("conversation", '{"metadata": {"a": 1}}', ""),
    "a conversation of a list": ("conversation", "[]", ""),
    "a forgetting that is no JSON": ("forget", "", ""),
    "a forgetting that is deep": ("forget", "[" * 100_000, ""),
    "a forgetting of a list": ("forget", "[]", ""),
    "a forgetting of one number": ("forget", '{"positions": 1}', ""),
    "a forgetting of words": ("forget", '{"positions": ["x"]}', ""),
    "a memory of other words": ("memory", "as of position x", ""),
    "a memory of a long number": ("memory", f"as of position {'9' * 5000}", ""),
    "a memory of a turn to come": ("memory", "as of position 1", ""),
    "a forgetting with other aliases": ("forget", '{"aliases": ["a"]}', ""),
}


@pytest.mark.parametrize(("role", "content", "note"), TURNS.values(), ids=TURNS)
def test_a_turn_whose_texts_nobody_could_read_again_is_refused(
    tmp_path: Path, other: Home, role: str, content: str, note: str
) -> None:
    turn = interaction(0, "op").model_copy(update={"messages": ((role, content),), "note": note})
    with open_home(tmp_path / "third") as home:
        fresh(home.shard, sealing=home.store.sealing)
        take(home.shard, 0, record=turn)
        data = home.export()

    assert "of turn 0 cannot be read" in refused(other, data)


FORM = StateFormat("ab" * 32, layers=3, states=2, rank=4)


def state(value: float, form: StateFormat = FORM) -> bytes:
    """A packed state of equal values, also of such as no engine packs."""
    values = np.full(form.shape, value, "<f4").tobytes()
    return form.pack(form.empty())[: -len(values)] + values


def packed(one: bytes) -> bytes:
    return Memory(one, (b"8 bytes.",)).pack()


MEMORIES = {
    "nothing": b"",
    "a cut header": packed(state(1.0))[:7],
    "another header": b"x" + packed(state(1.0))[1:],
    "a length beyond the end": packed(state(1.0))[:-9],
    "half a digest": packed(state(1.0))[:-1],
    "no state": packed(b"x"),
    "a cut state": packed(state(1.0)[:-4]),
    "a longer state": packed(state(1.0) + bytes(4)),
    "NaN": packed(state(float("nan"))),
    "infinity": packed(state(float("inf"))),
    "values beyond use": packed(state(3e38)),
    "fewer layers than its values": packed(state(1.0).replace(b"\3\0\2\0\4\0", b"\2\0\2\0\4\0", 1)),
    "the shape of no module here": packed(state(1.0, FORM._replace(layers=4))),
}


@pytest.mark.parametrize("where", ["memory", "kept", "after", "snapshot"])
@pytest.mark.parametrize("payload", MEMORIES.values(), ids=MEMORIES)
def test_a_memory_that_no_engine_could_read_is_refused(
    tmp_path: Path, other: Home, payload: bytes, where: str
) -> None:
    data = exported_with(tmp_path / "third", where, payload)

    reason = refused(other, data, states=FORM)

    of = {"memory": "memory", "snapshot": "snapshot"}.get(where, "interaction")
    turn = "" if where in ("memory", "snapshot") else " of turn 0"
    assert reason.startswith(f"its {of} is not sound: the memory state{turn} cannot be used: ")


def exported_with(path: Path, where: str, payload: bytes) -> bytes:
    turn = interaction(0, "op-0").model_copy(update={"memory_version": 0})
    if where in ("kept", "after"):
        turn = turn.model_copy(update={"memory" if where == "kept" else "memory_after": payload})
    memory = MemoryRecord(version=1, payload=packed(state(1.0)) if where != "memory" else payload)
    with open_home(path) as home:
        fresh(home.shard, sealing=home.store.sealing)
        take(home.shard, 0, record=turn, memory=memory, expires_ms=100)
        if where == "snapshot":
            memory = MemoryRecord(version=1, payload=payload)
            run(home.shard, lambda txn: log.prune_operations(txn, TENANT, "ada", now_ms=1000))
            run(home.shard, lambda txn: log.compact_log(txn, TENANT, "ada", 1, memory=memory))
        return home.export()


def test_a_file_that_unpacks_to_more_than_is_allowed_is_not_unpacked(other: Home, members: Members) -> None:
    bomb = pack({**members, "log.jsonl": bytes(BYTES_MAX)})
    assert len(bomb) < 200_000

    assert "are allowed" in refused(other, bomb)


def test_a_member_that_is_larger_than_its_entry_says_is_refused(other: Home, members: Members) -> None:
    size = BYTES_MAX * 2
    bomb = pack({**members, "log.jsonl": bytes(size)})

    lying = bomb.replace(struct.pack("<L", size), struct.pack("<L", len(members["log.jsonl"])))

    assert lying != bomb
    refused(other, lying)


def test_a_directory_of_too_many_files_is_not_read(other: Home) -> None:
    many = pack({f"{number:x}": b"" for number in range(MEMBERS_MAX + 1)}, method=zipfile.ZIP_STORED)

    assert refused(other, many) == f"it holds more than {MEMBERS_MAX} files"


@pytest.mark.parametrize(("offset", "value"), [(12, 1), (12, 2**31), (16, 0), (16, 2**32 - 1), (20, 1)])
def test_a_directory_that_is_not_where_it_should_be_is_refused(
    other: Home, data: bytes, offset: int, value: int
) -> None:
    changed = bytearray(data)
    struct.pack_into("<H" if offset == 20 else "<L", changed, data.rindex(b"PK\5\6") + offset, value)

    refused(other, bytes(changed))


def test_a_second_directory_for_large_files_is_refused(other: Home, data: bytes) -> None:
    at = data.rindex(b"PK\5\6")
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2**30, 2**30, 2**36, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)

    assert "more than" in refused(other, data[:at] + record + locator + data[at:])
    assert "zip64" in refused(other, data[:at] + locator + data[at:])


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_packing_that_takes_memory_is_refused(other: Home, members: Members, method: int) -> None:
    assert "another way" in refused(other, pack(members, method=method))


def test_an_encrypted_member_is_refused(other: Home, data: bytes) -> None:
    changed = bytearray(data)
    at = data.rindex(b"PK\1\2")
    struct.pack_into("<H", changed, at + 8, 1)

    refused(other, bytes(changed))


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with (
            pytest.raises(ArchiveInvalid, match=r"cannot be (read|imported)"),
            open_archive_file(path, bytes_max=1),
        ):
            pass


@pytest.mark.parametrize("name", ["../x", "", "base", "Ada", "a" * 65])
def test_a_forbidden_name_is_refused(other: Home, data: bytes, members: Members, name: str) -> None:
    with pytest.raises(InvalidName):
        other.take_in(data, name=name)
    with pytest.raises(InvalidName):
        other.take_in(pack(sealed(members, lambda manifest: manifest.update(name=name))))


def test_an_adapter_that_cannot_be_served_is_refused_as_when_it_is_published(
    other: Home, data: bytes
) -> None:
    low = other._replace(destination=other.destination._replace(rank_max=1))
    config = json.loads((other.destination.base_directory / "config.json").read_text())
    wide = other.destination.base_directory.parent / "wide"
    wide.mkdir()
    (wide / "config.json").write_text(json.dumps(config | {"hidden_size": 16}))
    foreign = other._replace(
        destination=AdapterStore(other.store.path, wide, other.destination.fingerprint, 16)
    )

    with pytest.raises(AdapterInvalid, match="rank"):
        low.take_in(data)
    with pytest.raises(AdapterMismatch):
        foreign.take_in(data)


@pytest.mark.slow
def test_another_process_checks_adapters_as_this_one_does(other: Home, data: bytes, home: Home) -> None:
    low = other._replace(destination=other.destination._replace(rank_max=1))

    with pytest.raises(AdapterInvalid, match="rank"):
        low.take_in(data, check=check_adapters_apart)
    view = home.take_in(data, name="zoe", check=check_adapters_apart)

    assert view.model.name == "zoe"


def test_a_name_that_is_taken_stays_as_it_is(home: Home, data: bytes) -> None:
    before = home.content()

    with pytest.raises(ModelExists):
        home.take_in(data)

    assert home.content() == before
