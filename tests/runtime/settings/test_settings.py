"""Settings come from the environment in one place, and a bad one is refused by name."""

import os
import pickle
from pathlib import Path

import pytest

from populace.policies.engine_devices import PROCESSOR, Card, profile_of
from populace.settings.environment import loud_variables, quiet_environment, telemetry_environment
from populace.settings.errors import SettingsError
from populace.settings.machine import adapter_slots_default, cards, has_gpu, hosts_default, physical_cores
from populace.settings.settings import Settings
from populace.settings.sources import PREFIX, variable_of


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    # Without a configuration file.
    monkeypatch.setenv("POPULACE_CONFIG", str(tmp_path))


def test_without_variables_every_setting_has_a_default() -> None:
    settings = Settings.from_environment()

    assert (settings.host, settings.port, settings.engine) == ("127.0.0.1", 8000, "auto")
    assert settings.data.is_absolute()
    assert settings.cache.is_absolute()
    assert 1 <= settings.threads == physical_cores()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("port", "9000", 9000),
        ("engine", "torch", "torch"),
        ("base", "org/name", "org/name"),
        ("turn_seconds_max", "2.5", 2.5),
        ("data", "/srv/people", Path("/srv/people")),
        ("teacher_key", "secret", "secret"),
        ("stream_ports", "7100-7163", "7100-7163"),
    ],
)
def test_a_variable_sets_its_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(variable_of(name), text)

    assert getattr(Settings.from_environment(), name) == value


def test_origins_are_separated_and_written_as_browsers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POPULACE_CORS_ORIGINS", "http://a.org:3000, https://b.org/,*")

    settings = Settings.from_environment()

    assert settings.allowed_origins == ("http://a.org:3000", "https://b.org", "*")
    assert Settings().allowed_origins == ()


def test_an_address_of_ipv6_may_have_its_brackets() -> None:
    settings = Settings(host="[::1]", cluster_host="[fd00::7]", metrics_host="::1")
    assert (settings.host, settings.cluster_host, settings.metrics_host) == ("::1", "fd00::7", "::1")


def test_a_teacher_has_an_address_and_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POPULACE_TEACHER_URL", "http://localhost:8001/v1/")
    with pytest.raises(
        SettingsError, match=r"POPULACE_TEACHER_MODEL is not set: the model at .* needs its name"
    ):
        Settings.from_environment()

    monkeypatch.setenv("POPULACE_TEACHER_MODEL", "large")

    settings = Settings.from_environment()
    assert (settings.teacher_url, settings.teacher_model) == ("http://localhost:8001/v1", "large")
    assert Settings().teacher_url is None


def test_an_override_wins_over_its_variable_unless_it_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POPULACE_PORT", "9000")

    assert Settings.from_environment(port=9001).port == 9001
    assert Settings.from_environment(port=None).port == 9000


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POPULACE_PORT", "")

    assert Settings.from_environment().port == 8000


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("port", "0", "greater than or equal to 1"),
        ("port", "eighty", "valid integer"),
        ("engine", "tensorflow", "'auto', 'vllm'"),
        ("turn_seconds_max", "inf", "finite"),
        ("idle_seconds_max", "-1", "greater than 0"),
        ("resident_bytes_max", "1", "1048576"),
        ("log_interactions_max", "63", "greater than or equal to 64"),
        ("cors_origins", "chat.example.org", "is no origin"),
        ("teacher_url", "localhost", "valid URL"),
        ("stream_ports", "7100", "FIRST-LAST, like 7100-7163"),
        ("stream_ports", "7163-7100", "FIRST-LAST"),
        ("stream_ports", "80-90", "from 1024 to 65535"),
        ("stream_ports", "7100-70000", "from 1024 to 65535"),
    ],
)
def test_a_bad_value_names_the_variable_the_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, allowed: str
) -> None:
    monkeypatch.setenv(variable_of(name), text)

    with pytest.raises(SettingsError) as refused:
        Settings.from_environment()

    assert (refused.value.variable, refused.value.value) == (variable_of(name), text)
    assert allowed in str(refused.value)


def test_a_misspelt_variable_is_refused_and_the_right_one_suggested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POPULACE_PROT", "9000")

    with pytest.raises(SettingsError, match="did you mean POPULACE_PORT"):
        Settings.from_environment()


def test_a_variable_of_another_tool_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}CUSTOMER_NUMBER", "7")

    assert Settings.from_environment().port == 8000


def test_no_setting_is_a_near_miss_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        monkeypatch.setenv(variable_of(name), "" if default is None else str(default))

    Settings.from_environment()


def test_settings_are_frozen_and_survive_pickling() -> None:
    settings = Settings.from_environment()

    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1

    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize(("cores", "hosts"), [(1, 1), (2, 1), (4, 1), (7, 1), (8, 2), (64, 16)])
def test_there_is_one_host_up_to_four_cores_and_one_for_every_four_beyond(cores: int, hosts: int) -> None:
    assert hosts_default(cores) == hosts


def test_the_quiet_environment_keeps_the_hub_offline_unless_it_is_allowed() -> None:
    assert quiet_environment()["HF_HUB_OFFLINE"] == "1"
    assert quiet_environment(allow_hub=True)["HF_HUB_OFFLINE"] == "0"


def test_the_tests_themselves_run_quietly() -> None:
    assert loud_variables() == []


def test_replicas_share_the_cores_unless_told_otherwise() -> None:
    cores = physical_cores()

    assert Settings.from_environment(replicas=1).threads == cores
    assert Settings.from_environment(replicas=cores).threads == 1
    assert Settings.from_environment(replicas=10 * cores).threads == 1
    assert Settings.from_environment(replicas=2, threads=cores).threads == cores


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("echo 'GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)'", True),
        ("echo 'No devices were found'", False),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", False),
    ],
)
def test_a_machine_has_a_gpu_if_its_driver_lists_one(
    program: str, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{program}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    has_gpu.cache_clear()

    assert has_gpu() == found
    has_gpu.cache_clear()


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("81559, 9.0\n81559, 9.0", [Card(81559 * 2**20, (9, 0))] * 2),
        ("[N/A], 8.0\n24564, 8.9", [Card(24564 * 2**20, (8, 9))]),
        ("Field compute_cap is not a valid field", []),
    ],
)
def test_the_cards_are_those_that_the_driver_describes(
    listed: str, found: list[Card], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f'#!/bin/sh\n[ "$1" = --list-gpus ] && echo "GPU 0: a card" || printf "{listed}"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    has_gpu.cache_clear()
    cards.cache_clear()

    assert list(cards()) == found
    profile = profile_of(min((card.bytes for card in found), default=None))
    defaults = Settings.from_environment()
    assert defaults.sequences_max == profile.sequences
    assert (defaults.context_tokens, defaults.waiting_max) == (profile.context_tokens, profile.waiting)
    assert Settings.from_environment(engine_device="cpu").sequences_max == PROCESSOR.sequences
    has_gpu.cache_clear()
    cards.cache_clear()


def test_there_are_as_many_adapter_slots_as_requests_unless_a_slot_costs_memory() -> None:
    assert adapter_slots_default({"sequences_max": 48, "engine_device": "cpu"}) == 48
    assert adapter_slots_default({"sequences_max": 48, "engine_device": "gpu"}) == 8
    assert Settings.from_environment(sequences_max=4, adapter_slots=3).adapter_slots == 3


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("off", None),
        ("console", ("console", "")),
        ("file", ("file", "")),
        ("file:/var/traces", ("file", "/var/traces")),
        ("otlp", ("otlp", "")),
        ("otlp:http://collector:4318", ("otlp", "http://collector:4318")),
    ],
)
def test_traces_go_where_the_setting_says(
    monkeypatch: pytest.MonkeyPatch, text: str, target: tuple[str, str] | None
) -> None:
    monkeypatch.setenv("POPULACE_TELEMETRY", text)

    assert Settings.from_environment().trace_target == target


@pytest.mark.parametrize("text", ["on", "file:", "otlp:collector", "off:x", "console:/tmp", "Off"])
def test_a_place_for_traces_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("POPULACE_TELEMETRY", text)

    with pytest.raises(SettingsError, match="POPULACE_TELEMETRY"):
        Settings.from_environment()


def test_a_share_of_traces_is_at_most_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POPULACE_TELEMETRY_SAMPLE", "1.5")

    with pytest.raises(SettingsError, match="POPULACE_TELEMETRY_SAMPLE"):
        Settings.from_environment()


def test_the_variables_of_opentelemetry_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")

    assert telemetry_environment()["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4318"
    assert all(name.startswith("OTEL_") for name in telemetry_environment())
