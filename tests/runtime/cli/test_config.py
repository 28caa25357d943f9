"""`populace config` and the doctor say where settings come from."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from populace.cli.config import config as config_command
from populace.cluster.doctor.configuration_check import check_configuration
from populace.settings.settings import Settings
from populace.settings.sources import variable_of

APP = typer.Typer()
APP.command()(config_command)


@pytest.fixture(autouse=True)
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.setenv("POPULACE_CONFIG", str(tmp_path))
    file = tmp_path / "populace.toml"
    file.write_text('port = 9001\nteacher_key = "sk-1"\n')
    file.chmod(0o600)
    return file


def run(*arguments: str) -> str:
    result = CliRunner().invoke(APP, [*arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_setting_is_listed_with_value_and_origin(file: Path) -> None:
    shown = json.loads(run("--json"))
    rows = {row["name"]: row for row in shown["settings"]}

    assert shown["file"] == str(file)
    assert rows.keys() == Settings.model_fields.keys()
    assert (rows["port"]["value"], rows["port"]["origin"]) == ("9001", str(file))
    assert (rows["host"]["value"], rows["host"]["origin"]) == ("127.0.0.1", "default")
    assert rows["config"]["origin"] == "POPULACE_CONFIG"
    assert rows["teacher_key"]["value"] == "(set, not shown)"


def test_what_was_changed_is_listed_alone_and_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POPULACE_BASE", "[bold]x")

    lines = [line for line in run("--changed").splitlines()[1:] if not line.startswith(" ")]

    assert {line.split()[0] for line in lines} == {"config", "port", "teacher_key", "base"}
    assert any("[bold]x" in line and "POPULACE_BASE" in line for line in lines)
    assert "sk-1" not in run()


def test_a_machine_on_which_nothing_is_set_is_told_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("POPULACE_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "empty"))

    assert run("--changed") == "All settings have their defaults.\n"


def test_another_file_can_be_looked_at_and_an_example_printed(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(run("--example") + "hosts = 2\n")

    changed = json.loads(run("--json", "--changed", "--config-file", str(other)))["settings"]

    assert {row["name"] for row in changed} == {"config", "config_file", "hosts"}


def test_a_broken_file_ends_the_command_with_its_place(file: Path) -> None:
    file.write_text("port =\n")

    result = CliRunner().invoke(APP, [])

    assert result.exit_code == 1
    assert "line 1, column 7" in " ".join(result.output.split())


def test_the_doctor_names_the_file_the_origins_and_a_secret_that_others_can_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POPULACE_HOSTS", "2")

    sound = check_configuration(Settings.gathered()[1])
    file.chmod(0o644)
    exposed = check_configuration(Settings.gathered()[1])
    file.unlink()
    without = check_configuration(Settings.gathered()[1])

    origins = "port, teacher_key from the file; config from POPULACE_CONFIG; hosts from POPULACE_HOSTS"
    assert (sound.status, sound.detail) == ("ok", f"{file}; {origins}")
    assert (exposed.status, exposed.remedy) == ("warn", f"chmod 600 {file}")
    assert "teacher_key" in exposed.detail
    assert without.detail.startswith("no configuration file; ")
