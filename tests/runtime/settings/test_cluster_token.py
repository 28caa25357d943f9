"""The token of a cluster is made once, for its owner's eyes only, and what is no token is named."""

import os
from pathlib import Path

import pytest

from populace.settings.cluster_token import make_token, own_token, token_problem
from populace.settings.environment import entered_ray_token, ray_port
from populace.settings.errors import SettingsError
from populace.settings.settings import Settings


def test_a_token_is_made_once_and_its_owner_alone_can_read_it(tmp_path: Path) -> None:
    token = tmp_path / "config" / "cluster-token"

    make_token(token)
    first = token.read_text()
    make_token(token)

    assert token.read_text() == first
    assert len(first) == 64
    assert token.stat().st_mode & 0o777 == 0o600
    assert token_problem(token) is None
    assert list(token.parent.iterdir()) == [token]


def test_what_is_no_token_is_named(tmp_path: Path) -> None:
    token = tmp_path / "cluster-token"
    assert token_problem(token) == "it does not exist"

    token.touch(0o600)
    assert token_problem(token) == "it is empty"

    token.write_text("secret")
    token.chmod(0o644)
    assert token_problem(token) == f"others can read it: chmod 600 {token}"


def test_a_file_that_cannot_be_the_token_stops_a_start_with_what_to_do(tmp_path: Path) -> None:
    token = tmp_path / "cluster-token"
    assert own_token(token) == token

    token.chmod(0o644)
    with pytest.raises(SettingsError, match=f"POPULACE_CLUSTER_TOKEN_FILE.*chmod 600 {token}"):
        own_token(token)
    token.chmod(0o600)
    token.write_text("\n")
    with pytest.raises(SettingsError, match="it is empty; without that file a new token is made"):
        own_token(token)


def test_the_tokens_file_is_in_the_configuration_unless_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POPULACE_CONFIG", str(tmp_path))
    monkeypatch.delenv("POPULACE_CLUSTER_TOKEN_FILE", raising=False)
    assert Settings.from_environment().cluster_token == tmp_path / "cluster-token"

    monkeypatch.setenv("POPULACE_CLUSTER_TOKEN_FILE", "/run/secrets/token")
    assert Settings.from_environment().cluster_token == Path("/run/secrets/token")


def test_ray_is_given_the_file_for_a_while_and_never_a_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another's")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)

    with entered_ray_token(tmp_path / "token"):
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "token")
        assert "RAY_AUTH_TOKEN" not in os.environ

    assert os.environ["RAY_AUTH_TOKEN"] == "another's"
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ


def test_a_port_that_another_ray_was_given_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_GCS_SERVER_PORT", "6379")

    with ray_port(None):
        assert "RAY_GCS_SERVER_PORT" not in os.environ
    with ray_port(7000):
        assert os.environ["RAY_GCS_SERVER_PORT"] == "7000"

    assert os.environ["RAY_GCS_SERVER_PORT"] == "6379"
