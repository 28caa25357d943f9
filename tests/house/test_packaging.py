"""What is installed is what lies in the checkout, under the right names."""

import json
import subprocess
import sys
from importlib import resources

from populace.settings.environment import process_environment
from tests.house.source_tree import FLOORS, ROOT, modules, project


def test_the_package_list_equals_the_folders_on_disk() -> None:
    listed = project()["tool"]["setuptools"]["packages"]

    on_disk = sorted(module.name for module in modules() if module.path.endswith("/__init__.py"))
    assert listed == on_disk


def test_a_folder_with_modules_is_a_package() -> None:
    folders = {(ROOT / module.path).parent for module in modules()}

    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_typing_marker_is_installed() -> None:
    assert resources.files("populace").joinpath("py.typed").is_file()


def test_the_four_rooms_are_never_imported_under_their_bare_names() -> None:
    names = sorted(module.name for module in modules() if module.room in ("actors", "policies", "storage"))
    program = f"import importlib, json, sys; [importlib.import_module(n) for n in {names}]; "
    program += "print(json.dumps(sorted(sys.modules)))"

    loaded = json.loads(run_python(program))

    assert [name for name in loaded if name in FLOORS] == []
    assert [name for name in sys.modules if name in FLOORS] == []


def test_no_module_has_the_name_of_the_library_it_wraps() -> None:
    libraries = {
        "ray",
        "torch",
        "vllm",
        "peft",
        "lmdb",
        "msgpack",
        "transformers",
        "pydantic",
        "opentelemetry",
    }

    assert [module.path for module in modules() if module.name.rsplit(".", 1)[-1] in libraries] == []


def run_python(program: str) -> str:
    """Run a program in a fresh interpreter that does not see the checkout."""
    return subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=process_environment(),
    ).stdout
