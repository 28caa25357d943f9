"""Where the processes of a Populace tell what they do follows from its settings."""

from pathlib import Path

import pytest

from populace.cluster.store_side import telemetry_options
from populace.settings.errors import SettingsError
from populace.settings.settings import Settings
from populace.storage.store import Store
from populace.telemetry.options import TelemetryOptions, TraceOptions


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create_or_open(tmp_path / "data", shards=1)


def test_traces_go_to_the_data_directory_unless_they_are_off_or_go_elsewhere(
    store: Store, tmp_path: Path
) -> None:
    def told(**changes: object) -> TelemetryOptions:
        return telemetry_options(Settings.model_validate({"data": store.path, **changes}), store)

    def traces(**changes: object) -> TraceOptions | None:
        return told(**changes).traces

    assert traces(telemetry="off") is None
    assert traces() == traces(telemetry="file") == TraceOptions("file", str(store.path / "traces"), 1.0)
    deep = tmp_path / "some" / "where"
    assert traces(telemetry=f"file:{deep}", telemetry_sample=0.1) == TraceOptions("file", str(deep), 0.1)
    assert deep.is_dir()
    assert traces(telemetry="otlp:http://host:4318") == TraceOptions("otlp", "http://host:4318", 1.0)
    # Where the gateway finds what requests have left.
    assert told().traces_directory == store.path / "traces"
    assert told(telemetry=f"file:{deep}").traces_directory == deep
    assert told(telemetry="off").traces_directory is None
    assert told(telemetry="otlp:http://host:4318").traces_directory is None


def test_a_folder_that_cannot_be_made_is_refused_by_name(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = Settings(data=store.path, telemetry=f"file:{tmp_path / 'file' / 'traces'}")

    with pytest.raises(
        SettingsError, match=r"POPULACE_TELEMETRY .* its folder cannot be made: Not a directory"
    ):
        telemetry_options(settings, store)
