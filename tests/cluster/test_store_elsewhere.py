# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A `populace serve` on a machine without data serves a store that another node of its Ray has."""

from pathlib import Path

import pytest
import ray

from populace.hosting.ray_token import ray_token
from populace.hosting.store_node import STORE_LABELS
from populace.settings.cluster_token import own_token
from tests.actors.ray_nodes import ray_nodes
from tests.end_to_end.served import chat, serve
from tests.small_base import make_small_base

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.release("cluster")]


def test_a_machine_without_data_serves_the_store_of_another_node(
    tmp_path: Path, base_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    base = make_small_base(tmp_path / "base", base_directory)
    data, nothing = tmp_path / "data", tmp_path / "nothing"
    own = {"POPULACE_DATA": str(data), "POPULACE_BASE": str(base), "POPULACE_ENCODER": "none"}
    for name in ("POPULACE_DATA", "POPULACE_JOURNAL"):
        monkeypatch.delenv(name, raising=False)
    with ray_token(own_token(tmp_path / "token")), ray_nodes([{}, STORE_LABELS], variables=[{}, own]):
        address: str = ray.get_runtime_context().gcs_address
        options = ("--ray-address", address, "--data", str(nothing), "--host", "0.0.0.0")
        with serve(tmp_path, engine="torch", data=data, options=options) as served:
            ada = served.create("ada")
            turns = [chat(served, ada, f"turn-{number}")["id"] for number in range(2)]
            assert [turn["completion_id"] for turn in served.log_of(ada)] == turns
            told = served.log.read_text()
            assert "The store is on the node" in told
            assert str(data) in told
            assert not nothing.exists()
        assert served.process.returncode == 0, served.log.read_text()
