"""An uploaded adapter may come from anybody: two files are taken from it, or it is refused by name."""

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from populace.actors.errors import AdapterInvalid
from populace.archive.adapter_upload import unpack_upload
from populace.storage.revisions import CONFIG_FILE, TENSORS_FILE
from tests.runtime.archive.uploads import zipped

BYTES_MAX = 100_000
FILES = {CONFIG_FILE: b"{}", TENSORS_FILE: b"tensors" * 100}


def link(name: str, target: bytes = b"/etc/passwd") -> dict[str | zipfile.ZipInfo, bytes]:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return {entry: target}


def unpacked(data: bytes, folder: Path, *, bytes_max: int = BYTES_MAX) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    path = unpack_upload(io.BytesIO(data), folder, bytes_max=bytes_max)
    assert path == folder
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("prefix", ["", "my-lora/", "./", "./my-lora/"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_two_files_come_from_the_root_or_a_folder_and_nothing_else_does(
    tmp_path: Path, prefix: str, method: int
) -> None:
    members = {f"{prefix}{name}": content for name, content in FILES.items()}
    more = {
        f"{prefix}README.md": b"a card",
        f"__MACOSX/{CONFIG_FILE}": b"a companion",
        f"{prefix}checkpoint-1/older/{CONFIG_FILE}": b"{}",
    }

    assert unpacked(zipped({**more, **members}, method=method), tmp_path / "to") == FILES


class Pipe(io.BytesIO):
    """Where a zip is written to as it is made, as `zip -r - .` does."""

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0, /) -> int:
        raise io.UnsupportedOperation


def test_a_zip_that_was_made_in_one_pass_is_read(tmp_path: Path) -> None:
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("./", b"")
        for name, content in FILES.items():
            archive.writestr(f"./{name}", content)

    assert unpacked(pipe.getvalue(), tmp_path / "to") == FILES


def bomb() -> bytes:
    return zipped({**FILES, "more": bytes(BYTES_MAX)})


def lying_about_its_size() -> bytes:
    """The tensors unpack to more than the directory says."""
    data = bytearray(zipped({**FILES, TENSORS_FILE: bytes(BYTES_MAX * 2)}))
    at = data.rindex(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<L", 10)
    return bytes(data)


def encrypted() -> bytes:
    data = bytearray(zipped(FILES))
    at = data.index(b"PK\1\2")
    data[at + 8] |= 1
    return bytes(data)


HOSTILE = {
    "no zip": (b"hello", "neither a zip file"),
    "nothing": (b"", "neither a zip file"),
    "an empty zip": (b"PK\5\6" + bytes(18), "neither a zip file|has no"),
    "cut off": (zipped(FILES)[:-30], "not a zip file, or was cut off"),
    "a bomb": (bomb(), "100000 are allowed"),
    "a lie about its size": (lying_about_its_size(), "cannot be read"),
    "encrypted": (encrypted(), "cannot be read"),
    "too many": (zipped({f"{n}": b"" for n in range(1001)}), "more than 1000 files"),
    "traversal": (zipped({**FILES, "../x": b""}), "'../x', a path that leaves"),
    "traversal inside": (zipped({f"a/../../{name}": b"" for name in FILES}), "a path that leaves"),
    "an absolute path": (zipped({f"/{name}": b"" for name in FILES}), "a path that leaves"),
    "backslashes": (zipped({**FILES, "..\\x": b""}), "a path that leaves"),
    "a link": (zipped({**link(CONFIG_FILE), TENSORS_FILE: b""}), "which is a link"),
    "a link elsewhere": (zipped({**link("x"), **FILES}), "'x', which is a link"),
    "a pickle": (zipped({CONFIG_FILE: b"{}", "adapter_model.bin": b"\x80\4."}), "may be a pickle"),
    "a pickle beside": (zipped({**FILES, "run/Optimizer.PT": b""}), "may be a pickle"),
    "no tensors": (zipped({CONFIG_FILE: b"{}"}), f"no {TENSORS_FILE}"),
    "no configuration": (zipped({TENSORS_FILE: b""}), f"no {CONFIG_FILE}"),
    "too deep": (zipped({f"a/b/{name}": content for name, content in FILES.items()}), f"no {CONFIG_FILE}"),
    "two adapters": (
        zipped({f"{folder}/{name}": b"" for folder in "ab" for name in FILES}),
        "adapters in 2 folders",
    ),
    "one in two folders": (zipped({CONFIG_FILE: b"{}", f"a/{TENSORS_FILE}": b""}), "adapters in 2 folders"),
    "another way of packing": (zipped(FILES, method=zipfile.ZIP_LZMA), "another way than deflate"),
    "a folder of that name": (zipped({f"{CONFIG_FILE}/": b"", TENSORS_FILE: b""}), f"no {CONFIG_FILE}"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_what_is_hostile_is_refused_by_name(tmp_path: Path, fault: str) -> None:
    data, reason = HOSTILE[fault]
    inside = tmp_path / "inside"

    with pytest.raises(AdapterInvalid, match=reason):
        unpacked(data, inside)

    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert sum(path.stat().st_size for path in inside.iterdir()) <= BYTES_MAX


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in (CONFIG_FILE, TENSORS_FILE, CONFIG_FILE):
            archive.writestr(name, b"{}")

    with pytest.raises(AdapterInvalid, match="twice"):
        unpacked(file.getvalue(), tmp_path / "to")


def test_every_cut_of_an_upload_is_refused_or_whole(tmp_path: Path) -> None:
    data = zipped(FILES)

    for end in range(len(data)):
        with pytest.raises(AdapterInvalid):
            unpacked(data[:end], tmp_path / str(end))


def test_a_damaged_byte_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    data = zipped(FILES)

    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        try:
            found = unpacked(bytes(damaged), tmp_path / str(place))
        except AdapterInvalid:
            continue
        assert found == FILES
