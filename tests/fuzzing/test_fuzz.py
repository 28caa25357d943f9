"""A short run of the fuzzer with fixed seeds finds nothing; ``scripts/fuzz.py`` runs for longer."""

import random
from dataclasses import dataclass

import pytest

from populace.storage.records.errors import ArchiveInvalid
from tests.fuzzing import running
from tests.fuzzing.mutation import mutated, mutated_value
from tests.fuzzing.running import fuzz, input_of
from tests.fuzzing.targets import TARGETS

INPUTS = {
    "archives": 60,
    "uploads": 100,
    "packed": 300,
    "journal": 300,
    "channel": 600,
    "presence": 300,
    "http": 60,
}


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_damaged_and_malicious_inputs_are_refused_by_name(name: str) -> None:
    with TARGETS[name]() as target:
        report = fuzz(target, seed=1, inputs=INPUTS[name])

    assert [(finding.number, finding.what) for finding in report.findings] == []
    assert len(report.outcomes) > 1, "some were accepted, or refused for more than one reason"


@dataclass
class Odd:
    """Refuses, fails, hangs or allocates, by what its input begins with."""

    def made(self, source: random.Random) -> bytes:
        return bytes([source.randrange(5)])

    def feed(self, data: bytes) -> None:
        match data[0]:
            case 0:
                raise ArchiveInvalid("x", "as it should be")
            case 1:
                raise KeyError("x")
            case 2:
                while True:
                    pass
            case 3:
                bytearray(2**25)
            case _:
                pass


def test_errors_without_a_name_hangs_and_too_much_memory_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "PROCESSOR_SECONDS_MAX", 0.05)
    monkeypatch.setattr(running, "BYTES_MAX", 2**24)
    target = Odd()

    report = fuzz(target, seed=0, inputs=30)

    assert report.outcomes.keys() == {"archive_invalid", "accepted", "KeyError", "Hung", "too much memory"}
    unnamed = {"KeyError", "Hung", "too much memory"}
    assert len(report.findings) == sum(report.outcomes[outcome] for outcome in unnamed)
    for finding in report.findings:
        assert input_of(target, 0, finding.number) == finding.data


def test_changes_are_functions_of_their_source() -> None:
    value = {"a": [1, 2, {"b": b"xyz"}], "c": "text"}

    for seed in range(50):
        sources = random.Random(seed), random.Random(seed)
        assert mutated(b"sample", [b"other"], sources[0]) == mutated(b"sample", [b"other"], sources[1])
        assert repr(mutated_value(value, sources[0])) == repr(mutated_value(value, sources[1]))
    assert value == {"a": [1, 2, {"b": b"xyz"}], "c": "text"}
