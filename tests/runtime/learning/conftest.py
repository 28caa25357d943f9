"""A second device is there before the first backward pass of a process that will use it."""

from pathlib import Path

import pytest

from tests.second_device import second_device

USES_IT = Path(__file__).with_name("test_devices.py")


def pytest_collection_finish(session: pytest.Session) -> None:
    if any(item.path == USES_IT for item in session.items):
        second_device()
