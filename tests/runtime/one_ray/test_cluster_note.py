# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""What a cluster says of itself is read by a machine that is no part of it."""

import pytest
import ray

from populace.cluster.joining.cluster_note import (
    ClusterNote,
    engine_node_names,
    find_node,
    own_versions,
    publish,
    read_note,
    start_noted,
)
from populace.engines.engine_nodes import noted_start

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("one_ray")]


def test_a_machine_reads_what_it_would_join_and_how_replicas_start_there() -> None:
    note = ClusterNote(
        "1", **own_versions(), engine="torch", gpus=0, base="b", fingerprint="f", base_directory="/b"
    )
    address: str = ray.get_runtime_context().gcs_address
    own: str = ray.get_runtime_context().get_node_id()
    name: str = ray.nodes()[0]["NodeName"]

    assert read_note(address) is None
    publish(note)
    assert read_note(address) == note
    assert engine_node_names(address) == []
    seen = find_node(address, name)
    assert seen is not None
    assert seen.id == own
    assert find_node(address, "another") is None

    assert start_noted(address, own) is None
    with pytest.raises(ValueError, match="the base is missing"), noted_start():
        raise ValueError("the base is missing")
    assert start_noted(address, own) == "ValueError('the base is missing')"
    with noted_start():
        pass
    assert start_noted(address, own) == "serves"
