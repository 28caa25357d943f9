"""Every error can cross a process, be told apart by a program, and be answered over HTTP."""

import ast
import importlib
import inspect
import pickle
import re
import types
import typing

from populace.gateway.http.errors import status_of
from populace.storage.records.errors import PopulaceError
from tests.house.source_tree import ROOT, modules

SAMPLES: dict[type, object] = {str: "a text", int: 3, float: 1.5, bool: True}


def error_modules() -> list[str]:
    """Find the modules that define an error of ours, by following base class names to the root.

    Read from the syntax trees, since importing every module would load Ray, torch and vLLM.
    """
    classes = [
        (node.name, [ast.unparse(base).rsplit(".", 1)[-1] for base in node.bases], module.name)
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    ]
    errors = {"PopulaceError"}
    while found := {name for name, bases, _ in classes if errors.intersection(bases)} - errors:
        errors |= found
    return sorted({module for name, _, module in classes if name in errors})


def errors_below(error: type[PopulaceError]) -> list[type[PopulaceError]]:
    """List an error class and all its subclasses."""
    below = [found for child in error.__subclasses__() for found in errors_below(child)]
    return [error, *below]


for name in error_modules():
    importlib.import_module(name)
ERRORS = sorted(set(errors_below(PopulaceError)), key=lambda error: error.__qualname__)
LEAVES = [error for error in ERRORS if not error.__subclasses__()]


def sample(error: type[PopulaceError]) -> PopulaceError:
    """Make an instance, with a sample for each parameter of its constructor."""
    if error.__init__ is not PopulaceError.__init__:
        hints, parameters = typing.get_type_hints(error.__init__), list(inspect.signature(error).parameters)
    elif error.fields:
        hints, parameters = typing.get_type_hints(error), list(error.fields)
    else:
        return error("a text")
    return error(*(sample_of(hints[name]) for name in parameters))


def sample_of(hint: object) -> object:
    """Make a value of a type that an error may carry."""
    if isinstance(hint, types.UnionType):
        return sample_of(next(part for part in typing.get_args(hint) if part is not type(None)))
    assert isinstance(hint, type), f"an error carries plain values, not {hint}"
    return SAMPLES[hint]


def test_errors_survive_pickling_with_their_numbers() -> None:
    raised = [sample(error) for error in ERRORS]

    received = [pickle.loads(pickle.dumps(error)) for error in raised]

    assert [_told_by(error) for error in received] == [_told_by(error) for error in raised]


def _told_by(error: PopulaceError) -> tuple[object, ...]:
    return type(error), error.args, str(error), vars(error)


def test_every_error_has_a_code_of_its_own() -> None:
    classes: dict[str, list[str]] = {PopulaceError.code: ["PopulaceError"]}
    for error in LEAVES:
        classes.setdefault(error.code, []).append(error.__qualname__)

    assert {code: names for code, names in classes.items() if len(names) > 1} == {}


def test_the_page_for_trouble_has_every_code_with_its_status() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", page, re.MULTILINE)

    assert {(code, int(status)) for code, status in rows} == {(e.code, status_of(e)) for e in ERRORS}


def test_the_statuses_that_documents_name_are_those_of_the_errors() -> None:
    statuses: dict[str, set[int]] = {}
    for error in ERRORS:
        statuses.setdefault(error.code, set()).add(status_of(error))
    named = [
        (document.name, code, int(status))
        for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
        for text in [document.read_text(encoding="utf-8")]
        for status, code in (
            *re.findall(r"\b([45]\d\d) `(\w+)`", text),
            *((status, code) for code, status in re.findall(r"`(\w+)` \(([45]\d\d)\)", text)),
        )
    ]

    assert len(named) > 10
    assert [one for one in named if one[2] not in statuses.get(one[1], ())] == []


def test_every_error_has_an_http_status() -> None:
    assert [error for error in ERRORS if not 400 <= status_of(error) < 600] == []
