"""The public face: small, sorted, and nothing heavy behind it until it is used."""

import json
import subprocess
import sys

import pytest

import populace
from populace.settings.settings import process_environment

HEAVY = ("fastapi", "lmdb", "peft", "ray", "torch", "transformers", "vllm")


def test_the_public_names_are_sorted_and_all_resolve() -> None:
    assert list(populace.__all__) == sorted(populace.__all__)
    assert [name for name in populace.__all__ if not hasattr(populace, name)] == []


def test_the_public_names_are_what_dir_lists() -> None:
    assert set(populace.__all__) <= set(dir(populace))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(populace, "no_such_name")  # noqa: B009 - a literal attribute would not type check


@pytest.mark.parametrize(
    "module", ["populace", "populace.cli.main", "populace.settings.settings", "populace.base.prepare"]
)
def test_an_import_brings_in_nothing_heavy(module: str) -> None:
    program = f"import sys, json, {module}; print(json.dumps([n for n in {HEAVY} if n in sys.modules]))"

    output = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=process_environment(),
    ).stdout

    assert json.loads(output) == []
