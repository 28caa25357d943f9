"""Bring the console's libraries into the repository, from npm's packages by digest.

    python scripts/vendor_console.py

Needs npm, whose own configuration says where packages come from; nothing of a package is run. Each file is a
whole module of its package, whose imports of the other packages become imports of the files beside it, so
that a browser needs neither a build nor an import map. ``vendor.json`` records what came of it:
``tests/runtime/gateway/test_console_files.py`` compares that with the files.
"""

import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent.parent / "runtime/gateway/console/static/vendor"
RECORD, LICENCES = "vendor.json", "licences.txt"


class Package(NamedTuple):
    """A package of npm: the SHA-512 of its tarball in base64, its files and what they are called here."""

    name: str
    version: str
    sha512: str
    files: dict[str, str]


PACKAGES = (
    Package(
        "preact",
        "11.2.0",
        "/HfHI/7N84e6GrWBJ3J280z3mLaRJiDcSvj/A+y/4AbLnND/1UlGHe1sR6oYuTGwId0nP7dqDU9OnLxMPZ7xBg==",
        {"dist/preact.mjs": "preact.mjs", "hooks/dist/hooks.mjs": "hooks.mjs"},
    ),
    Package(
        "@preact/signals",
        "2.11.4",
        "Rb+5RPo9gWSaHtzJeauhHxiC8KP/IF2DEPkHPEOGOnuy2wnJzRqyeLRankUCYd6ADqtxS6GnWGv6Ie343d8aYw==",
        {"dist/signals.mjs": "signals.mjs"},
    ),
    Package(
        "@preact/signals-core",
        "1.14.5",
        "vcRv7Ityz5JVmeiVqIluLFzT/PDS/AlhHUpw3/aUWqcVUs6bDGIPXE/6RSC4evBNWYvnniozg5Syfj33al3gkg==",
        {"dist/signals-core.mjs": "signals-core.mjs"},
    ),
    Package(
        "htm",
        "3.1.1",
        "983Vyg8NwUE7JkZ6NmOqpCZ+sh1bKv2iYTlUkzlWmA5JD2acKoxd4KVxbMmxX/85mtfdnDmTFoNKcg5DGAvxNQ==",
        {"dist/htm.mjs": "htm.mjs"},
    ),
    Package(
        "uplot",
        "1.6.32",
        "KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
        {"dist/uPlot.iife.min.js": "uplot.mjs", "dist/uPlot.min.css": "uplot.css"},
    ),
    Package(
        "marked",
        "18.2.1",
        "ii4bxCTCqqwpT86XZWgJNs+ZnAIZksmLGYMViWA7PDIXYIeNo1x6cDdX3JOip9NM/cI6p8z57FxliACboTruMA==",
        {"lib/marked.esm.js": "marked.mjs"},
    ),
)

IMPORTS = {
    "preact": "./preact.mjs",
    "preact/hooks": "./hooks.mjs",
    "@preact/signals-core": "./signals-core.mjs",
}
"""What the packages import of each other, and where it lies here."""

# Its modules are not minified; the script is, and makes one global, which a module can export.
ENDINGS = {"uplot.mjs": "\nexport default uPlot;\n"}


class VendoringFailed(Exception):
    """A package could not be had, or is not the one that is named here."""


def main() -> int:
    """Write the files, their licences and their record; a package with another digest changes nothing."""
    made: dict[str, bytes] = {}
    licences: list[str] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for package in PACKAGES:
                content = unpack(package, Path(folder))
                for path, name in package.files.items():
                    made[name] = adapted(name, content[path])
                licence = next(content[path] for path in content if path.upper().startswith("LICENSE"))
                licences.append(f"{package.name} {package.version}\n\n{licence.decode().strip()}\n")
    except VendoringFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in made.items():
        (FOLDER / name).write_bytes(content)
    (FOLDER / LICENCES).write_text("\n\n".join(licences), encoding="utf-8")
    (FOLDER / RECORD).write_text(json.dumps(record_of(made), indent=2) + "\n", encoding="utf-8")
    return 0


def record_of(made: dict[str, bytes]) -> dict[str, object]:
    """Describe the packages and the SHA-256 of each file that was made of them."""
    return {
        "packages": [
            {"name": package.name, "version": package.version, "sha512": package.sha512}
            for package in PACKAGES
        ],
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(made.items())},
    }


def unpack(package: Package, folder: Path) -> dict[str, bytes]:
    """Fetch a package, compare its digest, and return its files by their paths, none of them unpacked."""
    asked = f"{package.name}@{package.version}"
    packed = subprocess.run(
        ["npm", "pack", asked, "--silent", "--pack-destination", str(folder)],  # noqa: S607 - the user's npm
        capture_output=True,
        text=True,
        check=False,
    )
    if packed.returncode:
        raise VendoringFailed(f"npm has no {asked}: {packed.stderr.strip()}")
    tarball = folder / packed.stdout.split()[-1]
    digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if digest != package.sha512:
        raise VendoringFailed(f"{asked} has the digest {digest}, and not {package.sha512}")
    content: dict[str, bytes] = {}
    with tarfile.open(tarball) as archive:
        for member in archive.getmembers():
            read = archive.extractfile(member)
            if read is not None:
                content[member.name.partition("/")[2]] = read.read()
    return content


def adapted(name: str, content: bytes) -> bytes:
    """Return the file with imports that a browser can follow, and without a map, which is not here.

    Raises ``VendoringFailed`` for an import of something that is not here either.
    """
    text = re.sub(r"\n?//# sourceMappingURL=\S*\s*$", "\n", content.decode())

    def beside(found: re.Match[str]) -> str:
        if found[2] not in IMPORTS:
            raise VendoringFailed(f"{name} imports {found[2]}, which is not vendored")
        return f'{found[1]}"{IMPORTS[found[2]]}"'

    text = re.sub(r"""(\b(?:from|import) ?)["']([^"'./][^"']*)["']""", beside, text)
    return (text + ENDINGS.get(name, "")).encode()


if __name__ == "__main__":
    sys.exit(main())
