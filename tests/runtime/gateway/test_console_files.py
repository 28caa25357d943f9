"""The console's files are served whole, need no key and ask nothing of anybody else."""

import base64
import hashlib
import json
import re
from importlib import resources

import pytest

from populace.gateway.console.routes import FOR_EVER, POLICY, console_files
from scripts.vendor_console import PACKAGES, RECORD
from tests.house.source_tree import ROOT
from tests.runtime.gateway.population import Population

BYTES_MAX = 140_000
"""What a browser loads at most, on the way."""

SOURCES = ROOT / "runtime/gateway/console/static"
VENDORED = SOURCES / "vendor"
LINES_MAX, LINE_LENGTH_MAX = 400, 110
NAMESPACES = re.compile(r"https?://www\.w3\.org/")


async def test_the_page_is_served_without_a_key_under_a_strict_policy(population: Population) -> None:
    async with population.client(None) as client:
        pages = [await client.get(path) for path in ("/console", "/console/")]

    for page in pages:
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert page.headers["content-security-policy"] == POLICY
        assert page.headers["cache-control"] == "no-cache"
        assert page.headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    assert pages[0].content == pages[1].content


async def test_all_that_the_page_names_is_served_and_kept_for_ever(population: Population) -> None:
    async with population.client(None) as client:
        page = await client.get("/console")
        named = re.findall(r'(?:href|src)="([^"]+)"', page.text)
        for address in named:
            file = await client.get(address)
            assert (file.status_code, file.headers["cache-control"]) == (200, FOR_EVER), address
            assert file.headers["content-security-policy"] == POLICY

    assert len(named) > 5
    assert all(address.startswith(f"/console/static/{console_files().version}/") for address in named)


async def test_a_browser_that_has_the_page_gets_it_again_only_once_it_has_changed(
    population: Population,
) -> None:
    async with population.client(None) as client:
        tag = (await client.get("/console")).headers["etag"]
        again = await client.get("/console", headers={"If-None-Match": tag})
        other = await client.get("/console", headers={"If-None-Match": '"another"'})

    assert (again.status_code, again.content) == (304, b"")
    assert other.status_code == 200


async def test_a_file_comes_packed_to_whom_takes_it_so(population: Population) -> None:
    path = f"/console/static/{console_files().version}/app.mjs"
    async with population.client(None) as client:
        packed = await client.get(path, headers={"Accept-Encoding": "gzip"})
        plain = await client.get(path, headers={"Accept-Encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert packed.content == plain.content == (SOURCES / "app.mjs").read_bytes()
    assert int(packed.headers["content-length"]) < len(plain.content)


@pytest.mark.parametrize(
    "path",
    [
        "{version}/nothing.mjs",
        "{version}/../files.py",
        "{version}/..%2f..%2ffiles.py",
        "{version}/vendor/vendor.json",
        "{version}/vendor/licences.txt",
        "{version}/",
        "0000000000000000/app.mjs",
    ],
)
async def test_nothing_else_is_served(population: Population, path: str) -> None:
    async with population.client(None) as client:
        found = await client.get("/console/static/" + path.format(version=console_files().version))

    assert (found.status_code, found.json()["error"]["code"]) == (404, "route_not_found")


def test_every_import_is_of_a_file_that_is_served() -> None:
    served = console_files().files
    for path, file in served.items():
        if not path.endswith(".mjs"):
            continue
        folder = path.rpartition("/")[0]
        named = re.findall(r"""(?:from|import)\s*\(?["']([^"']+)["']""", file.content.decode())
        for name in named:
            assert name.startswith("./"), f"{path} imports {name}"
            assert f"{folder}/{name[2:]}".lstrip("/") in served, f"{path} imports {name}"


def test_all_that_a_browser_loads_is_small() -> None:
    files = console_files()

    assert sum(len(file.packed) for file in (files.page, *files.files.values())) <= BYTES_MAX


def test_the_libraries_are_those_that_the_script_names_byte_for_byte() -> None:
    record = json.loads((VENDORED / RECORD).read_text(encoding="utf-8"))
    here = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDORED.iterdir()
        if path.suffix in (".mjs", ".css")
    }

    assert record["files"] == here
    assert record["packages"] == [
        {"name": package.name, "version": package.version, "sha512": package.sha512} for package in PACKAGES
    ]
    assert all(len(base64.b64decode(package.sha512)) == 64 for package in PACKAGES)
    licences = (VENDORED / "licences.txt").read_text(encoding="utf-8")
    assert all(f"{package.name} {package.version}\n" in licences for package in PACKAGES)


def test_the_consoles_own_files_name_no_other_host_and_write_no_markup() -> None:
    own = [path for path in SOURCES.iterdir() if path.suffix in (".mjs", ".css", ".html")]
    for path in own:
        text = NAMESPACES.sub("", path.read_text(encoding="utf-8"))
        assert "http://" not in text, path.name
        assert "https://" not in text, path.name
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|dangerously|eval\(", text
        ), path.name
        assert text.count("\n") <= LINES_MAX, path.name
        assert max(len(line) for line in text.splitlines()) <= LINE_LENGTH_MAX, path.name


def test_what_is_served_is_installed_with_the_package() -> None:
    installed = resources.files("populace.gateway.console").joinpath("static")

    assert {entry.name for entry in installed.iterdir()} == {path.name for path in SOURCES.iterdir()}
