"""What all tests share.

A skip that would hide work fails in CI: a green run there means that the engine and Ray tests ran.
"""

import faulthandler
from collections.abc import Generator
from pathlib import Path

import pytest

from populace.base.prepare import prepare_base
from populace.settings.settings import Settings, enter_quiet_environment, in_ci
from tests import balanced_books

# Before any test module imports Ray, vLLM or the hub: they read these variables once.
enter_quiet_environment()

balanced_books.watch()

MUST_RUN_MARKERS = ("engine", "ray")


@pytest.fixture(scope="session")
def base_directory() -> Path:
    """The default base model; the first call on a machine converts it into the user's cache (20 s)."""
    return prepare_base(None, Settings.from_environment().cache).directory


def pytest_configure() -> None:
    """Print every thread's stack if a native library crashes."""
    if not faulthandler.is_enabled():
        faulthandler.enable()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Check the books of everything that is alive when a test ends, before its fixtures close it.

    A measurement's shards are too large to be read once more.
    """
    unbalanced: AssertionError | None = None
    if item.get_closest_marker("slow") is None:
        try:
            balanced_books.check()
        except AssertionError as error:
            unbalanced = error
    yield
    if unbalanced is not None:
        raise unbalanced


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, a skipped engine or Ray test is a failure."""
    report = yield
    expected_failure = hasattr(report, "wasxfail")
    must_run = any(item.get_closest_marker(name) for name in MUST_RUN_MARKERS)
    if report.skipped and must_run and not expected_failure and in_ci():
        fail_instead(report, item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI, a whole module that skips itself is a failure: its markers cannot be known."""
    report = yield
    if report.skipped and in_ci():
        fail_instead(report, report.nodeid)
    return report


def fail_instead(report: pytest.TestReport | pytest.CollectReport, nodeid: str) -> None:
    """Turn a skip into a failure that names its reason."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{nodeid} must run in CI, but it was skipped: {reason}"
