"""What all tests share.

A skip that would hide work fails in CI: a green run there means that the tests of engines, of Ray and of
clients ran.
"""

import faulthandler
import itertools
import os
import re
from collections import defaultdict
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from _pytest.mark.expression import Expression as MarkExpression
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from populace.actors.keepers import owned_shards
from populace.base.prepare import prepare_base
from populace.encoder.files import prepare_encoder
from populace.settings.environment import enter_quiet_environment, in_ci
from populace.settings.settings import Settings
from tests import balanced_books
from tests.limits import ENGINE_TEST_SECONDS, THREADS
from tests.notes import LONG_SECONDS, note_outcomes

# Before any test module imports Ray, vLLM or the hub: they read these variables once.
enter_quiet_environment()

os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))

# A whole machine of CI stood still for longer than the 30 s in which Ray gives up starting.
os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "150")

balanced_books.watch()

# How long an example takes tells how busy the machine is.
hypothesis.settings.register_profile("without deadlines", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("without deadlines")

# A busy disk took more than the 5 s for which a host's start waits for its shards.
owned_shards.OPENING_SECONDS_MAX = 60.0

LOADED = {"base_directory", "small_base_f32", "decided_base"}
"""Fixtures that a test asks for to load the model; ``base_files`` is for all else."""

TESTS = Path(__file__).parent

FIRST = (
    "tests/end_to_end/",
    "tests/cluster/",
    "tests/runtime/gateway/console/",
    "tests/runtime/engines/",
    "tests/actors/",
)
"""Folders whose groups take the longest: these begin, so that no worker has one alone at the end."""

MUST_RUN_MARKERS = ("engine", "ray", "browser", "fault", "slow", "client", "smoke")

MARKS = (*MUST_RUN_MARKERS, "release")
"""By which the tiers choose."""

ADDED = frozenset({"engine", "ray", "release"})
"""Marks that parameters of fixtures add to tests whose file does not have them."""


@pytest.fixture(scope="session")
def base_files() -> Path:
    """The default base's folder, for its tokenizer and configuration; its weights are not loaded.

    The first call on a machine converts it into the user's cache (20 s); a second process waits for that.
    """
    return prepare_base(None, Settings.from_environment().cache).directory


@pytest.fixture(scope="session")
def base_directory(base_files: Path) -> Path:
    """The default base, to be loaded; a test that asks for it must be marked ``engine``."""
    return base_files


@pytest.fixture(scope="session")
def encoder_files() -> Path:
    """The directory of the default sentence encoder, fetched once."""
    directory = prepare_encoder(None, Settings.from_environment().cache)
    assert directory is not None
    return directory


def pytest_configure() -> None:
    """Print every thread's stack if a native library crashes."""
    if not faulthandler.is_enabled():
        faulthandler.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out a file of which ``-m`` chooses no test: so the plain tests import no engine.

    All tests of a file have the marks of its ``pytestmark``. Parameters of fixtures may add those of
    ``ADDED``; all others are written in the file, or come from ``tests/torture.py``.
    """
    expression = config.option.markexpr
    if not expression or collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    text = collection_path.read_text(encoding="utf-8")
    whole = "".join(re.findall(r"^pytestmark = (.*?)$(?=\n\n|\n\S)", text, re.MULTILINE | re.DOTALL))
    always = {mark for mark in MARKS if f"mark.{mark}" in whole}
    written = {mark for mark in MARKS if f"mark.{mark}" in text or (mark == "fault" and "torture" in text)}
    open_marks = sorted((written | ADDED) - always)
    chosen = MarkExpression.compile(expression)
    for count in range(len(open_marks) + 1):
        for more in itertools.combinations(open_marks, count):
            if chosen.evaluate(Marked(always.union(more))):
                return None
    return True


class Marked:
    """Answers an expression whether a test with these marks has one."""

    def __init__(self, marks: set[str]) -> None:
        self._marks = marks

    def __call__(self, name: str, /, **arguments: str | int | bool | None) -> bool:
        del arguments
        return name in self._marks


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two choices of ``make test-release``."""
    parser.addoption("--part", help="run only this part of the release tier")
    parser.addoption("--examples-times", type=int, help="only tests of hypothesis, which try more")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give engines and clusters the time to start, and put what shares a start beside each other."""
    part, times = config.getoption("--part"), config.getoption("--examples-times")
    if part is not None:
        keep(items, [item for item in items if part_of(item) == part])
    if times is not None:
        keep(items, [item for item in items if multiply_examples(item, times)])
    for item in items:
        if is_marked(item, "engine", "ray", "client"):
            item.add_marker(pytest.mark.timeout(ENGINE_TEST_SECONDS))
    items.sort(key=place_of)


def keep(items: list[pytest.Item], kept: list[pytest.Item]) -> None:
    """Have pytest run these alone, and count the others as deselected."""
    for item in {*items} - {*kept}:
        item.config.hook.pytest_deselected(items=[item])
    items[:] = kept


def multiply_examples(item: pytest.Item, times: int) -> bool:
    """Have a test of hypothesis try so many times as much; returns whether it is one."""
    assert isinstance(item, pytest.Function)
    if not hypothesis.is_hypothesis_test(item.obj):
        return False
    function: Any = getattr(item.obj, "__func__", item.obj)
    name = "_hypothesis_internal_use_settings"
    # Those of a state machine are its class's.
    place, name = (function, name) if hasattr(function, name) else (item.cls, "settings")
    declared = getattr(place, name)
    more = hypothesis.settings(declared, max_examples=times * declared.max_examples, derandomize=False)
    setattr(place, name, more)
    return True


def part_of(item: pytest.Item) -> str | None:
    """The part of the release tier that the test is in, if it is in one."""
    mark = item.get_closest_marker("release")
    return None if mark is None else str(mark.args[0])


@cache
def group_of(file: str) -> str:
    """What one worker runs: all tests of a folder that share what one of them starts, or of a file."""
    folder = Path(file).parent
    shared = TESTS.parent / folder / "conftest.py"
    text = shared.read_text(encoding="utf-8") if shared.is_file() else ""
    is_shared = 'scope="package"' in text or "ray_running" in text
    return folder.as_posix() if is_shared else file


def place_of(item: pytest.Item) -> tuple[int, str]:
    """Sort the longest groups to the beginning; within a group the order stays as it was written."""
    folder = next((place for place, name in enumerate(FIRST) if item.nodeid.startswith(name)), len(FIRST))
    return folder, group_of(file_of(item.nodeid))


def file_of(nodeid: str) -> str:
    return nodeid.split("::")[0]


class GroupScheduling(LoadScopeScheduling):
    """Gives a worker a whole group at a time; xdist's by marks of its own knows no groups with pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(file_of(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    return GroupScheduling(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that loads a model is not in ``make test``, however it came to it."""
    loaded = LOADED.intersection(getattr(item, "fixturenames", ()))
    assert not loaded or is_marked(item, "engine"), f"it asks for {loaded}: mark it engine"


def is_marked(item: pytest.Item, *names: str) -> bool:
    """Whether the test has one of these marks."""
    return any(item.get_closest_marker(name) is not None for name in names)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Check the books of everything that is alive when a test ends, before its fixtures close it."""
    unbalanced: AssertionError | None = None
    try:
        balanced_books.check()
    except AssertionError as error:
        unbalanced = error
    yield
    if unbalanced is not None:
        raise unbalanced


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Note the outcomes for the tier's budget, of all workers."""
    if hasattr(config, "workerinput"):
        return
    found: dict[str, list[Any]] = terminalreporter.stats
    took_of = defaultdict[str, float](float)
    for reports in found.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                took_of[report.nodeid] += report.duration
    outcomes = {name: len(found.get(name, ())) for name in ("passed", "failed", "error", "skipped")}
    note_outcomes(outcomes, {name: took for name, took in took_of.items() if took > LONG_SECONDS})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, a skipped test of an engine, a cluster, a client or a fault is a failure."""
    report = yield
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped and is_marked(item, *MUST_RUN_MARKERS) and not expected_failure and in_ci():
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
