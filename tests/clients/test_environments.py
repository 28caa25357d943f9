"""A client that cannot be installed says so, and what is to be done."""

from pathlib import Path

import pytest

from tests.clients import environments
from tests.clients.environments import EnvironmentMissing, prepare
from tests.clients.pinned import Client


def test_a_client_that_no_index_has_is_named_with_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    client = Client("ada", "Ada", "ada.py", "", packages=("populace-has-no-such-client==1.0",))

    for _ in range(2):
        with pytest.raises(
            EnvironmentMissing, match=r"'ada' needs populace-has-no-such-client==1.0"
        ) as raised:
            prepare(client)
        assert "run `make test-release PART=clients` once where they can be reached" in str(raised.value)
        assert "No matching distribution" in str(raised.value)
