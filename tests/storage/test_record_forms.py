"""The forms of stored records belong to the schema, by which a release refuses a store before it reads it."""

import importlib
import json
from collections.abc import Mapping
from hashlib import sha256

import msgpack
import pytest

from populace.storage.records import keys
from populace.storage.records.errors import RecordInvalid, RecordNewer
from populace.storage.records.record import Record
from populace.storage.records.records import HeadRecord

FORMS = {5: "921ddc1d12221ad8"}
"""A digest of the fields of all records, by the schema under which they are written."""

DEFINED_IN = (
    "populace.storage.records.records",
    "populace.storage.rows.kept_trainings",
    "populace.storage.rows.contributors",
    "populace.storage.packed.adapter",
)


def forms() -> str:
    for module in DEFINED_IN:
        importlib.import_module(module)
    fields = {
        kind.KIND: {name: repr(field.annotation) for name, field in kind.model_fields.items()}
        for kind in Record.__subclasses__()
        if kind.__module__ in DEFINED_IN
    }
    return sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def test_the_forms_of_records_are_those_of_the_schema() -> None:
    assert FORMS[keys.SCHEMA] == forms(), (
        "A record has other fields than under this schema. If a release has written stores of it, raise "
        "SCHEMA in storage/records/keys.py, keep a store of that release in tests/storage/stores, and add "
        "the new digest here; if none has, the new digest takes the place of the old one."
    )


def packed(fields: Mapping[str, object]) -> bytes:
    data: bytes = msgpack.packb([1, fields])  # pyright: ignore
    return data


def test_a_row_of_a_newer_release_is_told_from_a_damaged_one() -> None:
    with pytest.raises(RecordNewer, match=r"newer Populace .* does not know its shape, colour\.") as found:
        HeadRecord.unpack(packed({"log_position": 1, "shape": "round", "colour": b"red"}))
    assert "round" not in str(found.value)

    for damaged in ({"log_position": "one", "shape": 1}, {"log_position": 1, "\x00hape": 1}):
        with pytest.raises(RecordInvalid) as told:
            HeadRecord.unpack(packed(damaged))
        assert type(told.value) is RecordInvalid
