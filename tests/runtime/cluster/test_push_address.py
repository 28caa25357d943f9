"""A collector that cannot be pushed to is named before anything is started."""

import subprocess
import sys
from pathlib import Path

import pytest

from populace.settings.environment import process_environment
from scripts.bench.ports import free_port
from tests.limits import HANG_SECONDS


@pytest.mark.parametrize(
    "pushing",
    [{"POPULACE_METRICS_PUSH_SECONDS": "5"}, {"POPULACE_TELEMETRY": "otlp:http://collector:4318"}],
    ids=str,
)
def test_serve_refuses_a_protocol_that_it_does_not_push_by(tmp_path: Path, pushing: dict[str, str]) -> None:
    data = tmp_path / "data"
    ended = subprocess.run(
        [sys.executable, "-m", "populace", "serve", "--data", str(data), "--port", str(free_port())],
        env=process_environment(
            POPULACE_CONFIG=str(tmp_path / "config"),
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
            **pushing,
        ),
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )

    assert ended.returncode == 1
    said = " ".join(ended.stderr.split())
    assert "The setting OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc', which is not allowed" in said
    assert "http/protobuf, which collectors take at port 4318" in said
    assert not data.exists()
