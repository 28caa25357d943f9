"""The unit of systemd is one that systemd takes, and fits what ``populace serve`` does."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from populace.gateway.deployment import STOP_SECONDS_MAX
from populace.settings.settings import Settings
from populace.settings.sources import variable_of
from tests.house.source_tree import ROOT

FOLDER = ROOT / "ops/systemd"
UNIT = (FOLDER / "populace.service").read_text(encoding="utf-8")


def value(name: str) -> str:
    (found,) = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    return found


def test_its_settings_are_ones_and_what_they_name_is_where_it_may_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = dict(re.findall(r"(\w+)=(\S+)", " ".join(re.findall(r"^Environment=(.*)$", UNIT, re.MULTILINE))))
    assert given["POPULACE_CONFIG_FILE"] == "/etc/populace/populace.toml"
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)

    settings = Settings.from_environment(config_file=FOLDER / "populace.toml")

    places = ("/var/lib/" + value("StateDirectory"), "/var/cache/" + value("CacheDirectory"))
    written = [str(settings.data), str(settings.config), str(settings.cache), given["RAY_TMPDIR"]]
    assert [place for place in written if not place.startswith(places)] == []


def test_it_waits_for_the_drain_and_for_what_comes_after_it_and_tells_the_main_process_alone() -> None:
    drain = Settings.model_fields["drain_seconds_max"].default

    assert float(value("TimeoutStopSec")) >= drain + 3 * STOP_SECONDS_MAX
    assert value("KillMode") == "mixed"
    assert value("Type") == "notify"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    units = [
        shutil.copy(file, tmp_path) for file in FOLDER.iterdir() if file.suffix in (".service", ".timer")
    ]
    # It looks whether the programs are there.
    unit = tmp_path / "populace.service"
    unit.write_text(UNIT.replace("/opt/populace/bin/populace", "/bin/true"), encoding="utf-8")
    drop_in = tmp_path / "populace.service.d"
    drop_in.mkdir()
    shutil.copy(FOLDER / "gpu.conf", drop_in)

    found = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)

    about = [line for line in found.stderr.splitlines() if "populace" in line]
    assert (found.returncode, about, len(units)) == (0, [], 3)
