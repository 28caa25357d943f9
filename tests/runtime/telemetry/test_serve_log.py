"""Serve's log keeps its file where a library configures logging for itself."""

import logging
import logging.config
from logging.handlers import MemoryHandler
from pathlib import Path

import pytest

from populace.telemetry.serve_log import SERVE_LOGGER, kept_serve_log


def test_serve_writes_to_its_file_after_a_library_has_configured_logging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "replica.log"
    target = logging.FileHandler(file)
    handler = MemoryHandler(1, target=target)
    monkeypatch.setattr(SERVE_LOGGER, "handlers", [handler])
    with kept_serve_log():
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    SERVE_LOGGER.error("still here")

    handler.close()
    target.close()
    assert file.read_text() == "still here\n"
