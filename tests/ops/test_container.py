"""The container file fits what it runs, and its steps are scripts that a shell takes."""

import json
import re
import subprocess
from pathlib import Path

from populace.settings.settings import Settings
from populace.settings.sources import PREFIX, variable_of
from tests.house.source_tree import ROOT, project

FOLDER = ROOT / "ops/container"
FILE = (FOLDER / "Containerfile").read_text(encoding="utf-8").replace("\\\n", "")


def lines(instruction: str) -> list[str]:
    return re.findall(rf"^{instruction} +(.*)$", FILE, re.MULTILINE)


def test_its_variables_are_settings_and_it_listens_where_it_says() -> None:
    given = dict(re.findall(r"(\w+)=(\S*)", " ".join(lines("ENV"))))

    ours = {name for name in given if name.startswith(PREFIX)}
    assert ours <= {variable_of(name) for name in Settings.model_fields}
    assert lines("EXPOSE") == [str(Settings.model_fields["port"].default)]
    assert given["POPULACE_HOST"] == "0.0.0.0"
    kept = [given[name] for name in ("POPULACE_DATA", "POPULACE_CONFIG")]
    assert all(place.startswith(f"{lines('VOLUME')[0]}/") for place in kept)


def test_it_serves_as_a_user_of_its_own_and_is_told_to_drain() -> None:
    assert lines("USER") == ["populace"]
    assert lines("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(lines("ENTRYPOINT")[0]) == ["/usr/bin/tini", "--", "populace"]
    (health,) = re.findall(r"CMD (\[.*readyz.*\])", FILE)
    program = json.loads(health)[-1]
    compile(program, "healthcheck", "exec")


def test_the_scripts_that_it_runs_are_there_and_are_shell() -> None:
    run = {Path(name).name for step in lines("RUN") for name in re.findall(r"/[\w/]+\.sh", step)}

    assert run == {file.name for file in FOLDER.glob("*.sh")}
    for name in run:
        checked = subprocess.run(["sh", "-n", FOLDER / name], capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_the_wheel_in_the_image_is_made_of_what_the_project_is_made_of() -> None:
    folders = set(project()["tool"]["setuptools"]["package-dir"].values())
    (copied,) = re.findall(r"cp -r (.*) \"", (FOLDER / "make.sh").read_text(encoding="utf-8"))
    let_in = (FOLDER / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()

    assert folders <= set(copied.split())
    assert {f"!{name}" for name in copied.split()} <= set(let_in)
