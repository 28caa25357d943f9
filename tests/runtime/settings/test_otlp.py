"""Where telemetry is pushed to is checked before anything is started."""

import pytest

from populace.settings.environment import telemetry_environment
from populace.settings.errors import SettingsError
from populace.settings.otlp import check_otlp


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "an address like http://"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://", "an address like http://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1", "an address like http://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:port", "an address like http://"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://collector:65536", "an address like http://"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "port 4318"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "10s", "a number of seconds above 0"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "a number of seconds above 0"),
    ],
)
def test_a_value_that_cannot_be_pushed_to_is_an_error(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError, match=reason) as raised:
        check_otlp("metrics")
    assert (raised.value.variable, raised.value.value) == (variable, value)


def test_the_variable_of_the_signal_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://collector.example:4318/v1/metrics")

    check_otlp("metrics")
    with pytest.raises(SettingsError, match="nowhere"):
        check_otlp("traces")


def test_an_address_that_a_setting_names_wins_and_the_rest_is_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere")

    check_otlp("traces", is_address_named=True)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
    with pytest.raises(SettingsError, match="port 4318"):
        check_otlp("traces", is_address_named=True)


def test_without_variables_it_is_the_collector_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in telemetry_environment():
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")

    check_otlp("metrics")
    assert telemetry_environment() == {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}
