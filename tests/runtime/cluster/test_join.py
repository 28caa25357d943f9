"""A machine that cannot join is refused with what to do, before anything is started on it."""

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from populace.actors.errors import ClusterNotFound, StartFailed
from populace.cli.console import interrupt_once
from populace.cli.main import app
from populace.cluster.doctor.nodes import check_nodes
from populace.cluster.joining.cluster_note import ClusterNote, own_versions, parse_note, read_note
from populace.cluster.joining.join import check_token, check_versions, join_cluster, wait_for_head
from populace.cluster.joining.joined_note import Joined, read_joined, remove_joined, write_joined
from populace.settings.cluster_token import make_token
from populace.settings.settings import Settings
from scripts.bench.ports import free_port

HEAD = "head:6379"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data", cache=tmp_path / "cache", config=tmp_path / "config")


@pytest.fixture
def absent() -> str:
    """An address at which nothing listens."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening


def note(**changes: str) -> ClusterNote:
    versions = own_versions() | changes
    return ClusterNote(
        "1", **versions, engine="torch", gpus=0, base="b", fingerprint="f", base_directory="/b"
    )


def test_a_machine_without_the_token_is_told_where_it_has_to_be(settings: Settings) -> None:
    with pytest.raises(StartFailed, match="it does not exist") as refused:
        join_cluster(HEAD, settings, print)

    assert str(settings.cluster_token) in str(refused.value)
    assert "POPULACE_CLUSTER_TOKEN_FILE" in str(refused.value)


def test_a_token_that_others_can_read_is_refused(settings: Settings) -> None:
    make_token(settings.cluster_token)
    check_token(HEAD, settings.cluster_token)
    settings.cluster_token.chmod(0o640)

    with pytest.raises(StartFailed, match="chmod 600"):
        check_token(HEAD, settings.cluster_token)


@pytest.mark.parametrize(("name", "called"), [("populace", "Populace"), ("ray", "Ray"), ("python", "Python")])
def test_other_versions_are_refused_and_both_are_named(name: str, called: str) -> None:
    check_versions(HEAD, note())

    with pytest.raises(StartFailed, match=f"it has {called} 0.0.1, and this machine {own_versions()[name]}"):
        check_versions(HEAD, note(**{name: "0.0.1"}))


def test_a_note_of_another_version_is_refused_by_its_version() -> None:
    told = note(populace="99.0")._asdict() | {"new": 1}
    del told["base_directory"]

    with pytest.raises(StartFailed, match=r"it has Populace 99\.0"):
        check_versions(HEAD, parse_note(json.dumps(told).encode()))


def test_a_head_that_is_not_there_is_no_cluster(absent: str) -> None:
    with pytest.raises(ClusterNotFound, match="Nothing listens there"):
        read_note(absent)


def test_a_head_that_stays_away_is_given_up(absent: str) -> None:
    with pytest.raises(ClusterNotFound, match="has not answered for 0 s"):
        wait_for_head(absent, seconds_max=0)


@pytest.mark.parametrize("address", ["head", "head:", "head:0", "head:70000", "two words:6379"])
def test_what_is_no_address_is_refused(address: str) -> None:
    result = CliRunner().invoke(app, ["node", "join", address])

    assert result.exit_code == 1
    assert "is no HOST:PORT such as 10.0.0.1:6379" in " ".join(result.stderr.split())


@pytest.mark.parametrize("former", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_terminal_that_is_closed_leaves_the_cluster_unless_nohup_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, former: signal.Handlers
) -> None:
    monkeypatch.setenv("POPULACE_CONFIG", str(settings.config))
    kept = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGHUP, former)
    try:
        assert CliRunner().invoke(app, ["node", "join", HEAD]).exit_code == 1
        expected = interrupt_once if former == signal.SIG_DFL else former
        assert signal.getsignal(signal.SIGHUP) == expected
        with pytest.raises(KeyboardInterrupt):
            interrupt_once(signal.SIGHUP, None)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, "a shell and a terminal both send one"
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def test_a_note_of_a_process_that_is_gone_is_none(tmp_path: Path) -> None:
    write_joined(tmp_path, Joined(HEAD, "node", 2**22 + 1, ("engine",)))
    assert read_joined(tmp_path) is None


def test_a_configuration_that_cannot_be_written_does_not_keep_a_machine_from_joining(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    config = tmp_path / "file" / "config"

    write_joined(config, Joined(HEAD, "node", 1, ("engine",)))
    remove_joined(config)

    assert read_joined(config) is None
    assert "`populace doctor` will not know of this cluster" in caplog.text


def test_the_doctor_says_what_a_joined_machine_lacks(settings: Settings, absent: str) -> None:
    assert [check.status for check in check_nodes(settings, None)] == ["ok"]

    write_joined(settings.config, Joined(absent, "node", 1, ("engine", "store")))
    role, token = check_nodes(settings, None)
    assert role.detail == f"engine and store node node of {absent}"
    assert (token.status, str(settings.cluster_token) in token.remedy) == ("fail", True)

    make_token(settings.cluster_token)
    head = list(check_nodes(settings, None))[-1]
    assert (head.name, head.status) == ("cluster head", "fail")
    assert "Nothing listens there" in head.detail

    remove_joined(settings.config)
    assert read_joined(settings.config) is not None, "it is another process's"
