"""The clients of ``pins.toml``, and of ``expected.toml`` what is expected of each scenario."""

import hashlib
import json
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.toml"
WORKS = "works"

Outcomes = dict[str, dict[str, str]]
"""By client and scenario: ``WORKS``, or the words with which it is refused."""


@dataclass(frozen=True)
class Client:
    """One client. ``needs`` and ``npm_needs`` pin what its packages bring along."""

    name: str
    title: str
    program: str
    use: str
    packages: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    npm_needs: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Of everything that decides what its environment holds."""
        decides = [sys.version, self.packages, self.needs, self.npm, self.npm_needs]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:12]

    @property
    def path(self) -> Path:
        """The program that uses the client."""
        return HERE / "programs" / self.program


_CLIENT = TypeAdapter(Client)


def read_clients() -> dict[str, Client]:
    """Read ``pins.toml``, in its order."""
    read = tomllib.loads((HERE / "pins.toml").read_text(encoding="utf-8"))
    return {name: _CLIENT.validate_python({"name": name, **pins}) for name, pins in read.items()}


def read_expected() -> Outcomes:
    """Read ``expected.toml``, in its order."""
    return tomllib.loads(EXPECTED.read_text(encoding="utf-8"))


def write_expected(outcomes: Outcomes) -> None:
    """Write ``expected.toml`` anew; its comment stays."""
    comment = EXPECTED.read_text(encoding="utf-8").split("\n\n")[0]
    tables: list[str] = []
    for client, scenarios in outcomes.items():
        lines = [f"{_quoted(scenario)} = {_quoted(outcome)}" for scenario, outcome in scenarios.items()]
        tables.append("\n".join([f"[{client}]", *lines]))
    EXPECTED.write_text("\n\n".join([comment, *tables]) + "\n", encoding="utf-8")


def _quoted(text: str) -> str:
    # A JSON string is a basic string of TOML, except for DEL, which no error has.
    return json.dumps(text, ensure_ascii=False)
