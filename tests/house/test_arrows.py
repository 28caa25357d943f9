"""Which package may import which: the whole picture of the house, and no two in a circle."""

from collections.abc import Mapping
from graphlib import TopologicalSorter

from tests.house.source_tree import imported_names, modules

FACE = "face"
"""The package ``populace`` itself, whose names are those of its packages."""

ALLOWED: Mapping[str, str] = {
    "actors": "policies policies.diversity storage.journal storage.records storage.rows",
    "actors.aggregation": "actors policies.diversity storage.records",
    "actors.host": (
        "actors actors.keepers actors.turns policies storage storage.journal storage.records storage.rows"
    ),
    "actors.keepers": (
        "actors policies policies.diversity storage storage.journal storage.records storage.rows "
        "storage.shards storage.training"
    ),
    "actors.turns": "actors policies storage.records",
    "adapters": "actors storage storage.packed storage.records",
    "adapters.lora": "actors adapters storage storage.packed storage.records",
    "adapters.memory": "actors adapters",
    "api": "actors actors.aggregation policies policies.diversity",
    "archive": (
        "actors adapters adapters.lora adapters.memory api settings storage storage.packed storage.records "
        "storage.rows"
    ),
    "base": "actors adapters.memory policies settings storage.records",
    "cli": (
        "actors actors.aggregation adapters api archive base client "
        "cluster cluster.doctor cluster.draining cluster.joining gateway.http learning.on_policy "
        "pictures policies "
        "settings storage storage.backups storage.journal storage.packed storage.records storage.resharding "
        "telemetry"
    ),
    "client": (
        "actors actors.aggregation actors.turns api engines hosting hosting.directory pictures policies "
        "policies.diversity settings storage storage.packed storage.records storage.rows "
        "storage.training suites"
    ),
    "cluster": (
        "actors base cluster.joining encoder engines gateway gateway.http hosting hosting.directory "
        "node_files policies settings storage storage.journal storage.records telemetry "
        "telemetry.tracing trainer"
    ),
    "cluster.doctor": (
        "actors base cluster cluster.joining encoder hosting settings storage storage.journal storage.records"
    ),
    "cluster.draining": "actors cluster cluster.joining engines gateway hosting settings storage.records",
    "cluster.joining": "actors engines hosting settings storage storage.journal",
    "encoder": "base storage.records",
    "engines": (
        "actors adapters adapters.memory base engines.vllm_lora engines.vllm_memory node_files policies "
        "settings storage storage.records telemetry telemetry.tracing"
    ),
    "engines.vllm_lora": "adapters engines.kernels storage.packed",
    "engines.vllm_memory": "actors adapters.memory engines.kernels",
    "face": "actors actors.aggregation cli client pictures storage.records storage.training",
    "gateway": (
        "actors actors.aggregation adapters.memory api engines gateway.admin gateway.completions "
        "gateway.console gateway.fine_tuning gateway.http gateway.metrics gateway.personal_models "
        "gateway.responses hosting hosting.directory settings storage storage.journal storage.records "
        "storage.uploads telemetry "
        "telemetry.metrics_push telemetry.tracing trainer"
    ),
    "gateway.admin": "actors api gateway.http storage.records",
    "gateway.completions": (
        "actors actors.aggregation actors.turns api engines gateway.http policies policies.diversity "
        "storage.records telemetry telemetry.tracing"
    ),
    "gateway.console": "gateway.http",
    "gateway.fine_tuning": (
        "actors api archive gateway.http policies storage.records storage.training storage.uploads"
    ),
    "gateway.http": (
        "actors actors.aggregation actors.turns api archive base encoder gateway.metrics pictures policies "
        "settings storage.backups storage.journal storage.packed storage.records storage.resharding "
        "storage.training storage.uploads telemetry telemetry.tracing"
    ),
    "gateway.metrics": "actors storage.journal storage.records",
    "gateway.personal_models": (
        "actors actors.aggregation adapters.memory api archive gateway.http pictures storage storage.records "
        "storage.rows suites telemetry"
    ),
    "gateway.responses": "actors actors.turns api gateway.completions gateway.http policies storage.records",
    "hosting": (
        "actors actors.aggregation actors.host base encoder engines hosting.directory node_files "
        "policies policies.diversity settings storage storage.journal storage.records suites telemetry "
        "telemetry.tracing"
    ),
    "hosting.directory": ("actors actors.keepers policies telemetry telemetry.tracing"),
    "learning": (
        "actors actors.keepers adapters adapters.lora adapters.memory engines learning.methods policies "
        "policies.diversity storage.records"
    ),
    "learning.on_policy": (
        "actors adapters.lora engines learning learning.methods policies storage storage.packed "
        "storage.records suites"
    ),
    "node_files": "actors base settings storage storage.packed storage.records",
    "pictures": "actors actors.aggregation adapters.memory storage.records",
    "policies.diversity": "policies",
    "settings": "actors policies storage.journal storage.records",
    "storage": "storage.packed storage.records storage.shards",
    "storage.backups": "storage storage.packed storage.records storage.shards storage.streams",
    "storage.journal": "storage storage.backups storage.records storage.rows storage.shards storage.streams",
    "storage.packed": "storage.records",
    "storage.resharding": "storage storage.records storage.shards",
    "storage.rows": "storage.records storage.training",
    "storage.shards": "storage.records storage.rows",
    "storage.streams": "storage.records",
    "storage.training": "storage.records",
    "storage.uploads": "storage.records storage.streams",
    "suites": "actors actors.turns policies settings storage.records",
    "telemetry": "actors policies settings storage.records",
    "telemetry.metrics_push": "actors",
    "telemetry.tracing": "actors settings storage.records telemetry",
    "trainer": (
        "actors adapters adapters.lora adapters.memory engines hosting hosting.directory learning "
        "learning.methods learning.on_policy policies policies.diversity settings storage "
        "storage.journal storage.packed storage.records storage.rows storage.training storage.uploads "
        "telemetry telemetry.tracing"
    ),
}
"""The packages that each package imports. A new arrow needs a reason; a circle is never one."""


def test_packages_import_only_what_they_may_and_nothing_is_allowed_in_vain() -> None:
    allowed = {(package, other) for package, others in ALLOWED.items() for other in others.split()}
    found = {(package, other) for package, others in _arrows().items() for other in others}

    assert (sorted(found - allowed), sorted(allowed - found)) == ([], [])


def test_no_package_imports_what_imports_it() -> None:
    # A circle raises CycleError, which names it.
    assert set(TopologicalSorter(_arrows()).static_order()) >= set(ALLOWED)


def _arrows() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for module in modules():
        own = _package(module.name)
        others = {_package(name) for name in imported_names(module.tree) if name.split(".")[0] == "populace"}
        found.setdefault(own, set()).update(others - {own})
    return {package: others for package, others in found.items() if others}


def _package(name: str) -> str:
    """The package of a module, or of what is imported from one."""
    packages = {module.name for module in modules() if module.path.endswith("__init__.py")}
    while name not in packages:
        name = name.rpartition(".")[0]
    return name.removeprefix("populace").removeprefix(".") or FACE
