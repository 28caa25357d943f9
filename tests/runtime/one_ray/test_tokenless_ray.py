# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A Ray that asks nobody for a token is refused: whoever reaches it can run programs in it."""

import subprocess
import sys
from pathlib import Path

import pytest
import ray

from populace.cluster.doctor.nodes import check_nodes, check_ray_token
from populace.cluster.joining.driver import answers_without_token
from populace.settings.environment import process_environment
from populace.settings.settings import Settings
from scripts.bench.ports import free_port
from tests.limits import HANG_SECONDS

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("one_ray")]


def test_a_ray_without_a_token_is_not_served_in_and_the_doctor_says_so(tmp_path: Path) -> None:
    address: str = ray.get_runtime_context().gcs_address
    settings = Settings(data=tmp_path / "data", config=tmp_path / "config", ray_address=address)

    assert answers_without_token(address)
    check = next(iter(check_nodes(settings, None)))
    assert (check.status, check.detail.startswith(f"{address}: It asks nobody for a token")) == ("fail", True)
    assert "RAY_AUTH_MODE=token" in check.remedy
    refused = subprocess.run(
        [sys.executable, "-m", "populace", "serve", "--data", str(settings.data), "--ray-address", address],
        env=process_environment(POPULACE_CONFIG=str(settings.config)),
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert refused.returncode == 1
    assert "asks nobody for a token" in refused.stderr
    assert not settings.data.exists()


def test_where_nothing_listens_is_not_called_a_ray_without_a_token() -> None:
    nowhere = f"127.0.0.1:{free_port()}"

    assert not answers_without_token(nowhere)
    assert check_ray_token(nowhere).detail == f"nothing listens at {nowhere}"
    assert check_ray_token("auto").status == "ok"
