"""Imports go down only, and each heavy library comes in through its own door."""

from collections.abc import Mapping

from tests.house.source_tree import FLOORS, imported_names, modules

MODEL_ROOMS = (
    "runtime/adapters/",
    "runtime/engines/",
    "runtime/learning/",
    "runtime/base/",
)
DOORS: Mapping[str, tuple[str, ...]] = {
    "bm25s": ("actors/keepers/log_index.py",),
    "llguidance": ("runtime/engines/",),
    "lmdb": ("storage/shards/shard.py", "storage/shards/environments.py", "storage/shards/pages.py"),
    "obstore": ("storage/journal/object_bucket.py",),
    "vllm": ("runtime/engines/vllm_",),
    "ray": ("runtime/",),
    "torch": MODEL_ROOMS,
    "peft": MODEL_ROOMS,
    "transformers": MODEL_ROOMS,
    "jinja2": ("runtime/engines/",),
    "numba": (
        "runtime/engines/kernels/compiled.py",
        "runtime/engines/vllm_memory/compiled.py",
        "runtime/engines/vllm_lora/table.py",
    ),
    "matplotlib": ("runtime/pictures/figures.py",),
    "opentelemetry": ("runtime/telemetry/",),
    "fastapi": ("runtime/gateway/",),
    "starlette": ("runtime/gateway/",),
}
SERVERS_FILES = ("populace.archive", "populace.storage.shards", "populace.storage.store")
ENVIRONMENT_DOORS = (
    "runtime/settings/",
    "runtime/engines/vllm_environment.py",  # lends variables to vLLM's start, parses none
)

NOT_IN_POLICIES = ("asyncio", "datetime", "io", "os", "pathlib", "socket", "subprocess", "threading", "time")


def room_of(imported: str) -> str:
    """Name the room that a ``populace.…`` import leads to."""
    second = imported.split(".")[1] if "." in imported else ""
    return second if second in FLOORS else "runtime"


def test_modules_import_only_from_their_own_room_or_a_lower_floor() -> None:
    too_high = [
        f"{module.path} imports {name}"
        for module in modules()
        for name in imported_names(module.tree)
        if name.split(".")[0] == "populace"
        if (room := room_of(name)) != module.room and FLOORS[room] >= FLOORS[module.room]
    ]

    assert too_high == []


def test_a_client_opens_neither_a_store_nor_an_archive() -> None:
    """What takes the server's files is the gateway's, also for a client in the cluster."""
    opening = [
        f"{module.path} imports {name}"
        for module in modules()
        if str(module.path).startswith("runtime/client/")
        for name in imported_names(module.tree)
        if name.startswith(SERVERS_FILES)
    ]

    assert opening == []


def test_modules_import_by_absolute_names_under_populace() -> None:
    stray = [
        f"{module.path} imports {name}"
        for module in modules()
        for name in imported_names(module.tree)
        if name.startswith(".") or name.split(".")[0] in FLOORS
    ]

    assert stray == []


def test_a_heavy_library_is_imported_only_behind_its_door() -> None:
    misplaced = [
        f"{module.path} imports {name}"
        for module in modules()
        for name in imported_names(module.tree)
        if (doors := DOORS.get(name.split(".")[0])) is not None and not module.path.startswith(doors)
    ]

    assert misplaced == []


def test_the_environment_is_read_only_by_the_settings() -> None:
    reading = [
        module.path
        for module in modules()
        if not {"os.environ", "os.getenv"}.isdisjoint((*imported_names(module.tree), *module.attributes))
        if not module.path.startswith(ENVIRONMENT_DOORS)
    ]

    assert reading == []


def test_policies_decide_from_what_they_are_given() -> None:
    outside = [
        f"{module.path} uses {name}"
        for module in modules()
        if module.room == "policies"
        for name in imported_names(module.tree)
        if name.split(".")[0] in NOT_IN_POLICIES
    ]

    assert outside == []
