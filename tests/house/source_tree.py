"""The checkout as the house tests see it: rooms, modules and their syntax trees."""

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FLOORS = {"policies": 0, "storage": 0, "actors": 1, "runtime": 2}


class Module(NamedTuple):
    """One source file. ``room`` is its top-level folder, ``path`` is relative to the checkout."""

    path: str
    room: str
    name: str
    tree: ast.Module

    @property
    def attributes(self) -> Iterator[str]:
        """Every ``name.attribute`` that the file reads or writes."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                yield f"{node.value.id}.{node.attr}"


@cache
def modules() -> tuple[Module, ...]:
    """Parse every source file of the distribution."""
    return tuple(_read(room, file) for room in FLOORS for file in sorted((ROOT / room).rglob("*.py")))


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted name of everything that a file imports, wherever in the file it does.

    ``from a import b`` yields ``a.b``, since ``b`` may be a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def project() -> dict[str, Any]:
    """Read ``pyproject.toml``."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _read(room: str, file: Path) -> Module:
    path = file.relative_to(ROOT)
    inside = path.parts[1:] if room == "runtime" else path.parts
    parts = [part.removesuffix(".py") for part in inside if part != "__init__.py"]
    tree = ast.parse(file.read_bytes(), str(path))
    return Module(path.as_posix(), room, ".".join(["populace", *parts]), tree)
