"""A Ray that asks nobody for a token is refused: whoever reaches it can run programs in it."""

import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from populace.cluster.doctor.nodes import check_nodes, check_ray_token
from populace.cluster.joining.driver import answers_without_token
from populace.settings.environment import process_environment, quiet_environment
from populace.settings.settings import Settings
from scripts.bench.ports import free_port
from scripts.bench.processes import child
from tests.limits import HANG_SECONDS
from tests.notes import count_start

UNGUARDED = {"RAY_AUTH_MODE": "disabled"}


@pytest.fixture
def unguarded_ray(tmp_path: Path) -> Generator[str]:
    """``HOST:PORT`` of a Ray without a token, in processes of its own: this one's Ray is asked for one."""
    count_start("ray")
    address, log = f"127.0.0.1:{(port := free_port())}", tmp_path / "ray.log"
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port", str(port)]
    command += ["--node-ip-address", "127.0.0.1", "--num-cpus", "1", "--include-dashboard", "false"]
    with child(command, process_environment(**quiet_environment(), **UNGUARDED), log) as process:
        give_up = time.monotonic() + HANG_SECONDS
        while "Ray runtime started" not in (said := log.read_text()):
            assert process.poll() is None, said
            assert time.monotonic() < give_up, said
            time.sleep(0.2)
        yield address


@pytest.mark.ray
@pytest.mark.release("cluster")
def test_nothing_is_served_in_a_ray_without_a_token_and_the_doctor_says_so(
    tmp_path: Path, unguarded_ray: str
) -> None:
    settings = Settings(data=tmp_path / "data", config=tmp_path / "config", ray_address=unguarded_ray)

    assert answers_without_token(unguarded_ray)
    check = next(iter(check_nodes(settings, None)))
    assert check.status == "fail"
    assert check.detail.startswith(f"{unguarded_ray}: It asks nobody for a token")
    assert "RAY_AUTH_MODE=token" in check.remedy
    options = ("--data", str(settings.data), "--ray-address", unguarded_ray)
    refused = subprocess.run(
        [sys.executable, "-m", "populace", "serve", *options],
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
