"""Archives of people, and uploads of adapters: what comes in from other machines as one file."""

import io
import json
import random
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.adapters.packing import check_packed_adapter, pack_peft_directory
from populace.archive.adapter_upload import unpack_upload
from populace.archive.reading import open_archive
from populace.storage.packed.adapter import PackedAdapter
from tests.fuzzing.mutation import mutated, mutated_value
from tests.runtime.archive.homes import BYTES_MAX, Home, give_everything, members_of, open_home, pack, sealed

ACCEPTED_MAX = 200
"""Models in a store before the next one is begun."""


class Archives:
    """Imports archives, each under a name of its own, and exports again what was accepted."""

    def __init__(self, folder: Path, samples: list[bytes]) -> None:
        self._folder = folder
        self._samples = samples
        self._members = [members_of(sample) for sample in samples]
        self._homes = ExitStack()
        self._home: Home | None = None
        self._fed = self._accepted = 0

    def close(self) -> None:
        self._homes.close()

    def made(self, source: random.Random) -> bytes:
        number = source.randrange(len(self._samples))
        kind, members = source.random(), dict(self._members[number])
        if kind < 0.3:
            return mutated(self._samples[number], self._samples, source)
        name = source.choice(sorted(members))
        if name == "manifest.json" or kind < 0.45:
            manifest = mutated_value(json.loads(members["manifest.json"]), source)
            return pack({**members, "manifest.json": _json(manifest)})
        members[name] = _changed(name, members[name], list(members.values()), source)
        return pack(sealed(members) if kind < 0.95 else members)

    def feed(self, data: bytes) -> None:
        home = self._opened()
        self._fed += 1
        name = f"m{self._fed}"
        home.take_in(data, name=name, bytes_max=BYTES_MAX // 4)
        self._accepted += 1
        with open_archive(io.BytesIO(home.export(name=name)), "again", bytes_max=BYTES_MAX) as archive:
            for member in archive.manifest.members:
                archive.read(member)

    def _opened(self) -> Home:
        if self._home is None or self._accepted % ACCEPTED_MAX == ACCEPTED_MAX - 1:
            self._homes.close()
            self._accepted = 0
            self._home = self._homes.enter_context(open_home(self._folder / f"into-{self._fed}"))
        return self._home


class Uploads:
    """Unpacks uploaded adapters, zipped PEFT directories, and packs them as a publication does."""

    def __init__(self, folder: Path, samples: list[bytes], modules: BaseModules) -> None:
        self._folder = folder
        self._samples = samples
        self._modules = modules

    def made(self, source: random.Random) -> bytes:
        sample = source.choice(self._samples)
        if source.random() < 0.4:
            return mutated(sample, self._samples, source)
        members = members_of(sample)
        name = source.choice(sorted(members))
        members[name] = _changed(name, members[name], list(members.values()), source)
        return pack(members)

    def feed(self, data: bytes) -> None:
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            path = unpack_upload(io.BytesIO(data), Path(folder), bytes_max=2**22)
            packed = pack_peft_directory(path, self._modules, rank_max=16)
        adapter = PackedAdapter(memoryview(packed))
        adapter.verify()
        check_packed_adapter(adapter, self._modules, rank_max=16)


def _changed(name: str, content: bytes, others: list[bytes], source: random.Random) -> bytes:
    """Change a member: the values of one of its lines, or its bytes."""
    if name.endswith(".safetensors") and len(content) > 8 and source.random() < 0.5:
        return _reheaded(content, source)
    if name.endswith((".jsonl", ".json")) and source.random() < 0.7:
        lines = content.split(b"\n")
        at = source.randrange(len(lines))
        try:
            value: Any = json.loads(lines[at])
        except ValueError:
            return mutated(content, others, source)
        lines[at] = _json(mutated_value(value, source))
        return b"\n".join(lines)
    return mutated(content, others, source)


def _reheaded(tensors: bytes, source: random.Random) -> bytes:
    """Change a value of the header of a safetensors file."""
    end = 8 + int.from_bytes(tensors[:8], "little")
    header = _json(mutated_value(json.loads(tensors[8:end]), source))
    return len(header).to_bytes(8, "little") + header + tensors[end:]


def _json(value: object) -> bytes:
    return json.dumps(value, default=lambda odd: cast("bytes", odd).hex()).encode(errors="replace")


@contextmanager
def archives() -> Generator[Archives]:
    with tempfile.TemporaryDirectory(prefix="populace-fuzz-") as root:
        folder = Path(root)
        with open_home(folder / "from") as home:
            give_everything(home, folder / "adapters")
            samples = [home.export()]
        target = Archives(folder, samples)
        yield target
        target.close()


@contextmanager
def uploads() -> Generator[Uploads]:
    with tempfile.TemporaryDirectory(prefix="populace-fuzz-") as root:
        folder = Path(root)
        with open_home(folder / "from") as home:
            give_everything(home, folder / "adapters")
            path = folder / "adapters" / "0"
            members = {file.name: file.read_bytes() for file in sorted(path.iterdir())}
            inside = {f"adapter/{name}": content for name, content in members.items()}
            modules = read_base_modules(home.destination.base_directory, home.destination.fingerprint)
            yield Uploads(folder, [pack(members), pack(inside)], modules)
