"""The public face: small, sorted, and nothing heavy behind it until it is used."""

import ast
import inspect
import json
import re
import subprocess
import sys

import pytest

import populace
from populace.client.async_model import AsyncModel
from populace.client.async_population import AsyncPopulation
from populace.client.connecting import connect, connect_async
from populace.client.model_handle import ChatMethod, ModelHandle
from populace.client.population import Population
from populace.settings.environment import process_environment
from tests.house.source_tree import modules, project

HEAVY = ("fastapi", "lmdb", "peft", "ray", "torch", "transformers", "vllm")


def test_the_public_names_are_sorted_and_all_resolve() -> None:
    assert list(populace.__all__) == sorted(populace.__all__)
    assert [name for name in populace.__all__ if not hasattr(populace, name)] == []


def test_the_public_names_are_what_dir_lists() -> None:
    assert set(populace.__all__) <= set(dir(populace))


def test_what_type_checkers_see_is_what_is_there() -> None:
    face = next(module.tree for module in modules() if module.path == "runtime/__init__.py")

    seen = {
        alias.name
        for node in ast.walk(face)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("populace.")
        for alias in node.names
    }
    assert {*seen, "__version__"} == set(populace.__all__)


def test_every_class_that_public_verbs_return_or_name_in_their_docstrings_is_exported() -> None:
    classes = {
        node.name for module in modules() for node in module.tree.body if isinstance(node, ast.ClassDef)
    }
    faces = (Population, ModelHandle, ChatMethod, AsyncPopulation, AsyncModel)
    verbs = [verb for face in faces for name, verb in vars(face).items() if not name.startswith("_")]
    functions = [verb.fget if isinstance(verb, property) else verb for verb in verbs]
    docstrings = [inspect.getdoc(public) or "" for public in (connect, connect_async, *faces, *functions)]
    returned = [
        str(inspect.signature(function).return_annotation) for function in functions if callable(function)
    ]

    named = {name for text in docstrings for name in re.findall(r"``([A-Z]\w+)``", text)}
    named |= {name for text in returned for name in re.findall(r"\b[A-Z]\w+", text)}
    # The directory of the hosts is for operators, who import it from its own module.
    assert (named & classes) - {"Directory"} - set(populace.__all__) == set()


def test_the_blocking_and_the_asyncio_face_have_the_same_verbs() -> None:
    def verbs(face: type) -> set[str]:
        return {name for name in vars(face) if not name.startswith("_")}

    blocking_only = {"base_directory", "directory", "run", "tenant", "base"}
    assert verbs(Population) - blocking_only == verbs(AsyncPopulation) - {"tenant", "base"}
    # `chat` of a handle is an object, and `known` is asked of its memory.
    assert verbs(ModelHandle) | {"chat", "known", "remote_chat"} == verbs(AsyncModel)
    assert "remote" in verbs(ChatMethod)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(populace, "no_such_name")  # noqa: B009 - a literal attribute would not type check


@pytest.mark.parametrize(
    "module",
    [
        "populace",
        "populace.cli.main",
        "populace.client.connecting",
        "populace.settings.settings",
        "populace.base.prepare",
    ],
)
def test_an_import_brings_in_nothing_heavy(module: str) -> None:
    program = f"import sys, json, {module}; print(json.dumps([n for n in {HEAVY} if n in sys.modules]))"

    output = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=process_environment(),
    ).stdout

    assert json.loads(output) == []


def test_a_client_and_the_command_line_load_without_what_only_serving_needs() -> None:
    """The extra ``serve`` is not there where a client is installed."""
    listed = project()["project"]["optional-dependencies"]["serve"]
    names = [re.split(r"[\[>=]", one)[0].removeprefix("py").replace("-", "_") for one in listed]
    program = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Missing())
import populace, populace.cli.main
print(len([getattr(populace, name) for name in populace.__all__]))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, env=process_environment()
    )

    assert "zmq" in names
    assert done.stdout == f"{len(populace.__all__)}\n", done.stderr
