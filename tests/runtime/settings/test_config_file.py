"""A file configures a node; options and variables win over it, and what is wrong is named by its key."""

import logging
import os
import re
import tomllib
from pathlib import Path

import pytest

from populace.settings.errors import ConfigFileInvalid, SettingsError
from populace.settings.listing import descriptions, example, listed
from populace.settings.settings import Settings
from populace.settings.sources import COMMAND_LINE, SECRETS, variable_of


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory of the configuration, which is the only one that is named in the environment."""
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.setenv("POPULACE_CONFIG", str(tmp_path))
    return tmp_path


def write(config: Path, text: str, name: str = "populace.toml") -> Path:
    path = config / name
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def test_options_win_over_variables_and_variables_over_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(config, 'port = 9001\nhosts = 3\nengine = "torch"\n')
    monkeypatch.setenv("POPULACE_HOSTS", "4")
    monkeypatch.setenv("POPULACE_ENGINE", "vllm")

    settings, found = Settings.gathered(engine="auto", replicas=None)

    assert (settings.port, settings.hosts, settings.engine, settings.replicas) == (9001, 4, "auto", 1)
    assert found.file == file
    assert found.origins == {
        "config": "POPULACE_CONFIG",
        "port": str(file),
        "hosts": "POPULACE_HOSTS",
        "engine": COMMAND_LINE,
    }
    assert Settings.from_environment(engine="auto") == settings


def test_a_file_that_is_named_is_read_instead_of_the_one_beside_the_keys(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(config, "port = 9001")
    other = write(config, "port = 9002", "other.toml")
    third = write(config, "port = 9003", "third.toml")
    assert Settings.from_environment().port == 9001

    monkeypatch.setenv("POPULACE_CONFIG_FILE", str(other))

    assert Settings.from_environment().port == 9002
    assert Settings.from_environment(config_file=third).port == 9003
    with pytest.raises(ConfigFileInvalid, match=r"/gone\.toml cannot be used: no such file"):
        Settings.from_environment(config_file=config / "gone.toml")


def test_without_a_file_all_is_as_before(config: Path) -> None:
    settings, found = Settings.gathered()

    assert settings == Settings(config=config)
    assert (found.file, found.exposed) == (None, ())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("port = 9000\nprot = 1", r"prot is no setting, did you mean port"),
        ("memory-module = 'none'", r"memory-module is no setting, did you mean memory_module"),
        ("POPULACE_PORT = 1", r"POPULACE_PORT is no setting, did you mean port"),
        ("xyzzy = 1", r"xyzzy is no setting; `populace config` lists all"),
        ("[gateway]\nport = 1", r"Settings stand at the top of the file, in no table"),
        ("config_file = 'x'", "one file does not read another"),
        ("port = 1\n\nhosts == 2", r"it is no TOML: Invalid value \(at line 3, column 8\)"),
        ("port = 1\nport = 2\n", "it is no TOML: Cannot overwrite a value"),
    ],
)
def test_a_file_with_what_is_no_setting_is_refused_by_file_and_key(
    config: Path, text: str, problem: str
) -> None:
    file = write(config, text)

    with pytest.raises(ConfigFileInvalid, match=f"{re.escape(str(file))} cannot be used: .*{problem}"):
        Settings.from_environment()


def test_a_directory_that_cannot_be_entered_has_no_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = write(config, "", "a-file") / "below"
    monkeypatch.setenv("POPULACE_CONFIG", str(blocked))

    assert Settings.gathered()[1].file is None


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("port", '"9000"', "valid integer"),
        ("port", "99999", "less than or equal to 65535"),
        ("hosts", "true", "valid integer"),
        ("hosts", "2.0", "valid integer"),
        ("telemetry_sample", '"1"', "valid number"),
        ("metrics_vllm_names", "1", "valid boolean"),
        ("data", "5", "valid string"),
        ("base", "2026-11-30", "valid string"),
        ("cors_origins", '["http://a.org"]', "valid string"),
        ("engine", '"tensorflow"', "'auto'"),
        ("stream_ports", '"7100"', "FIRST-LAST"),
        ("shards", "{ number = 8 }", "valid integer"),
    ],
)
def test_a_value_of_a_wrong_type_or_size_is_refused_by_file_and_key(
    config: Path, key: str, value: str, allowed: str
) -> None:
    file = write(config, f"{key} = {value}")

    with pytest.raises(SettingsError, match=f"{key} in {re.escape(str(file))} is .*{allowed}"):
        Settings.from_environment()


def test_what_a_variable_says_wrong_is_not_blamed_on_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(config, "port = 9000")
    monkeypatch.setenv("POPULACE_PORT", "0")

    with pytest.raises(SettingsError) as refused:
        Settings.from_environment()

    assert refused.value.variable == "POPULACE_PORT"


def test_a_file_that_cannot_be_read_is_refused(config: Path) -> None:
    file = config / "populace.toml"
    file.mkdir()
    with pytest.raises(ConfigFileInvalid, match="is a directory"):
        Settings.from_environment()

    file.rmdir()
    file.write_bytes(b"base = '\xff'")
    with pytest.raises(ConfigFileInvalid, match=r"not in UTF-8 \(at byte 8\)"):
        Settings.from_environment()


def test_a_pipe_is_refused_and_not_waited_for(config: Path) -> None:
    pipe = config / "pipe.toml"
    os.mkfifo(pipe)
    with pytest.raises(ConfigFileInvalid, match=r"pipe\.toml cannot be used: it is not a file"):
        Settings.from_environment(config_file=pipe)


def test_a_file_may_begin_with_the_mark_of_its_encoding(config: Path) -> None:
    (config / "populace.toml").write_text("port = 8123\n", encoding="utf-8-sig")
    assert Settings.from_environment().port == 8123


def test_a_secret_in_a_file_that_others_can_read_is_warned_of_and_is_never_shown(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(config, 'teacher_key = "sk-1"\nport = 9000\n')
    assert Settings.gathered()[1].exposed == ()
    assert caplog.records == []

    file.chmod(0o640)
    with caplog.at_level(logging.WARNING):
        settings, found = Settings.gathered()

    assert found.exposed == ("teacher_key",)
    assert f"chmod 600 {file}" in caplog.text
    assert settings.teacher_key == "sk-1"
    assert "sk-1" not in caplog.text + repr(listed(settings, found))

    write(config, "teacher_key = 5678")
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment()
    assert "5678" not in str(refused.value)


def test_every_key_that_opens_something_is_a_secret() -> None:
    texts = {name for name, field in Settings.model_fields.items() if field.annotation == str | None}

    assert {name for name in texts if name.endswith("_key")} == SECRETS


def test_every_setting_says_what_it_is() -> None:
    assert descriptions().keys() == Settings.model_fields.keys()


def test_the_example_has_every_setting_and_changes_nothing_when_it_is_taken_as_it_is(config: Path) -> None:
    text = example()
    settings = re.findall(r"^# (\w+ = .*)$", text, re.MULTILINE)
    assert tomllib.loads(text) == {}
    named = [line.split(" ", 1)[0] for line in settings]
    assert sorted(named) == sorted(Settings.model_fields.keys() - {"config_file"})

    write(config, "\n".join(line for line in settings if not line.startswith("config ")))

    assert Settings.from_environment() == Settings(config=config)


def test_a_secret_under_a_misspelt_name_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POPULACE_TEACHER_KEYS", "sk-hidden")

    with pytest.raises(SettingsError, match="did you mean POPULACE_TEACHER_KEY") as raised:
        Settings.from_environment()

    assert "sk-hidden" not in str(raised.value)


def test_what_no_path_can_be_is_named(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = config / "populace.toml"
    for value, problem in (("~nouser-at-all/x", "no such user"), ("a\\u0000b", "null byte")):
        file.write_text(f'data = "{value}"')
        with pytest.raises(SettingsError, match=problem):
            Settings.from_environment()
    file.write_text("data = " + "[" * 100_000)
    with pytest.raises(ConfigFileInvalid, match="nested too deeply"):
        Settings.from_environment()
    monkeypatch.setenv("POPULACE_CONFIG_FILE", "~nouser-at-all/x")
    with pytest.raises(SettingsError, match=r"POPULACE_CONFIG_FILE.*no such user"):
        Settings.from_environment()
