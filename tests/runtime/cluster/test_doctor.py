"""The doctor passes a sound machine and names a remedy for each failure."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from populace.cli.doctor import doctor as doctor_command
from populace.cluster.doctor import doctor
from populace.settings.machine import physical_cores
from populace.settings.settings import Settings
from populace.storage.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data", cache=tmp_path / "cache", port=free_port())


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_sound_machine_has_no_failure_and_nothing_is_created_by_looking(settings: Settings) -> None:
    checks = list(doctor.run_checks(settings))

    assert [check for check in checks if check.status == "fail"] == []
    assert len({check.name for check in checks}) == len(checks)
    assert not settings.data.exists()
    assert not settings.cache.exists()


def test_a_master_key_that_is_lost_or_that_others_may_read_is_named(settings: Settings) -> None:
    Store.create_or_open(settings.data, 1)
    key = settings.data / "master.key"
    assert doctor.check_master_key(settings).status == "ok"

    key.chmod(0o644)
    open_to_all = doctor.check_master_key(settings)
    key.unlink()
    lost = doctor.check_master_key(settings)

    assert (open_to_all.status, open_to_all.remedy) == ("warn", f"chmod 600 {key}")
    assert lost.status == "fail"
    assert "POPULACE_MASTER_KEY" in lost.remedy


def test_a_port_in_use_by_another_program_fails(settings: Settings, busy_port: int) -> None:
    check = doctor.check_port(settings.model_copy(update={"port": busy_port}))

    assert check.status == "fail"
    assert "POPULACE_PORT" in check.remedy


def test_ports_between_processes_that_are_too_few_fail(settings: Settings) -> None:
    assert doctor.check_ports_between(settings).status == "ok"

    check = doctor.check_ports_between(settings.model_copy(update={"stream_ports": "7100-7100"}))

    assert check.status == "fail"
    assert f"{settings.stream_ports_needed} are needed" in check.detail


def test_a_host_that_does_not_exist_fails(settings: Settings) -> None:
    check = doctor.check_port(settings.model_copy(update={"host": "host.invalid"}))

    assert check.status == "fail"


def test_an_invalid_base_fails_with_its_reason(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    check = doctor.check_base(settings.model_copy(update={"base": str(tmp_path / "empty")}))

    assert check.status == "fail"
    assert "no config.json" in check.detail


def test_a_base_that_is_not_made_yet_is_no_failure(settings: Settings) -> None:
    assert doctor.check_base(settings).status == "ok"


def test_a_data_directory_that_cannot_hold_files_fails(settings: Settings) -> None:
    check = doctor.check_data_directory(settings.model_copy(update={"data": Path("/proc/populace")}))

    assert check.status == "fail"
    assert "POPULACE_DATA" in check.remedy


def test_more_engine_threads_than_cores_is_a_warning_with_the_right_number(settings: Settings) -> None:
    cores = physical_cores()

    check = doctor.check_cores(settings.model_copy(update={"threads": cores + 1}))

    assert check.status == "warn"
    assert check.remedy == f"set POPULACE_THREADS to {cores}"


def test_usage_reports_that_are_on_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")

    check = doctor.check_quiet()

    assert check.status == "warn"
    assert "RAY_USAGE_STATS_ENABLED" in check.detail


def test_a_failure_ends_the_command_with_status_one_and_json_names_it(
    monkeypatch: pytest.MonkeyPatch, busy_port: int, tmp_path: Path
) -> None:
    for name, value in {"DATA": tmp_path, "CACHE": tmp_path, "PORT": busy_port}.items():
        monkeypatch.setenv(f"POPULACE_{name}", str(value))
    app = typer.Typer()
    app.command()(doctor_command)

    result = CliRunner().invoke(app, ["--json"])

    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert not report["passed"]
    assert [check["name"] for check in report["checks"] if check["status"] == "fail"] == ["port"]


def test_a_bad_setting_is_a_failure_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POPULACE_PORT", "eighty")
    app = typer.Typer()
    app.command()(doctor_command)

    result = CliRunner().invoke(app, [])

    assert result.exit_code == 1
    assert "unset POPULACE_PORT" in result.stdout


def test_the_store_of_no_cluster_cannot_be_checked() -> None:
    app = typer.Typer()
    app.command()(doctor_command)

    result = CliRunner().invoke(app, ["--store"])

    assert result.exit_code == 2
    assert "Say with --join which cluster is meant" in " ".join(result.stderr.split())


def test_a_data_directory_is_its_users_alone_and_one_that_is_not_is_told(settings: Settings) -> None:
    Store.create_or_open(settings.data)
    assert settings.data.stat().st_mode & 0o077 == 0
    assert doctor.check_data_directory(settings).status == "ok"

    settings.data.chmod(0o755)

    check = doctor.check_data_directory(settings)
    assert (check.status, check.remedy) == ("warn", f"chmod o= {settings.data}")
