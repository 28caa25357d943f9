"""The short examples run beside a real Populace, as their first lines tell."""

from pathlib import Path

import pytest

from tests.end_to_end.served import Served

pytestmark = [pytest.mark.engine, pytest.mark.ray]

LONGER = pytest.mark.release("documents")
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    "name", ["quickstart", *(pytest.param(name, marks=LONGER) for name in ("openai_client", "two_people"))]
)
def test_the_examples_run(served: Served, name: str) -> None:
    done = served.run(str(EXAMPLES / f"{name}.py"))

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
