# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# boto3 ships no types.
"""What a journal needs of an object store: a directory, one in memory, and S3 as moto has it."""

import os
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import MemoryStore

from populace.storage.journal.bucket import Bucket, check_bucket, shown
from populace.storage.journal.directory_bucket import UNFINISHED_SECONDS_MAX
from populace.storage.journal.errors import BucketRefused, BucketUnreachable
from populace.storage.journal.object_bucket import ObjectBucket
from populace.storage.journal.opening import open_bucket
from tests.limits import HANG_SECONDS

DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def s3_environment(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3,
    }.items():
        monkeypatch.setenv(name, value)
    return s3


def s3_client() -> Any:
    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")


def make_s3_bucket(name: str, *, versioned: bool = False) -> None:
    s3_client().create_bucket(Bucket=name)
    if versioned:
        keep_versions(name, "Enabled")


def keep_versions(name: str, status: str) -> None:
    s3_client().put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": status})


@pytest.fixture(params=["directory", "memory", "s3"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    match request.param:
        case "directory":
            (tmp_path / "journal").mkdir()
            return open_bucket(f"file://{tmp_path}/journal")
        case "memory":
            return ObjectBucket("memory:", MemoryStore())
        case _:
            request.getfixturevalue("s3_environment")
            name = f"of-{abs(hash(request.node.name))}"
            make_s3_bucket(name)
            return open_bucket(f"s3://{name}/some/prefix")


def test_an_object_is_created_once(bucket: Bucket) -> None:
    assert bucket.create("a/1", b"one")
    assert not bucket.create("a/1", b"two")

    assert bucket.read("a/1") == b"one"
    assert bucket.has("a/1")
    assert bucket.read("a/2") is None
    assert not bucket.has("a/2")


def test_of_many_writers_at_once_one_creates_an_object(bucket: Bucket) -> None:
    created: list[int] = []

    def create(number: int) -> None:
        if bucket.create("a/1", str(number).encode()):
            created.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_SECONDS)

    assert len(created) == 1
    assert bucket.read("a/1") == str(created[0]).encode()


def test_an_object_is_replaced_whole_or_not_at_all(bucket: Bucket) -> None:
    bucket.replace("a/1", b"one")
    bucket.replace("a/1", (bytes([number]) * 2**20 for number in range(12)))
    pieces = bucket.stream("a/1")
    assert pieces is not None
    assert b"".join(pieces) == b"".join(bytes([number]) * 2**20 for number in range(12))

    def failing() -> Iterator[bytes]:
        yield bytes(9 * 2**20)
        raise RuntimeError("a test says so")

    with pytest.raises(Exception, match="a test says so"):
        bucket.replace("a/1", failing())
    assert bucket.stream("a/2") is None
    again = bucket.stream("a/1")
    assert again is not None
    assert sum(len(piece) for piece in again) == 12 * 2**20


def test_names_are_listed_in_order_and_after_one(bucket: Bucket) -> None:
    for name in ("a/10", "a/09", "ab/1", "a/b/1", "c/1"):
        bucket.create(name, b"12")

    assert [found.name for found in bucket.names("a")] == ["a/09", "a/10", "a/b/1"]
    assert [found.name for found in bucket.names("a", after="a/09")] == ["a/10", "a/b/1"]
    assert bucket.names("nothing") == []
    assert bucket.folders() == ["a", "ab", "c"]
    assert bucket.names("a")[0].size == 2
    bucket.remove(["a/09", "a/10"])
    bucket.remove(["a/09"])
    bucket.remove([])
    assert [found.name for found in bucket.names("a")] == ["a/b/1"]


def test_a_bucket_is_tried_and_left_as_it_was(bucket: Bucket) -> None:
    check_bucket(bucket, "store")

    assert bucket.names("store") == []


@contextmanager
def s3_behind(s3: str, *, changes_nothing: bool) -> Generator[str]:
    """An S3 server that creates what is there already, or one that takes no writes at all."""

    class Behind(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "if-none-match"}
            if changes_nothing and self.command != "GET":
                answer = httpx.Response(403, content=DENIED)
            else:
                answer = httpx.request(
                    self.command, s3 + self.path, headers=headers, content=body, trust_env=False
                )
            self.send_response(answer.status_code)
            for name in ("ETag", "Last-Modified", "Content-Type"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815 - the library's names

    with ThreadingHTTPServer(("127.0.0.1", 0), Behind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(HANG_SECONDS)


@pytest.mark.parametrize(
    ("changes_nothing", "reason"), [(False, "creates an object where there is one"), (True, "AccessDenied")]
)
def test_a_store_without_conditional_create_and_one_that_is_read_only_are_refused(
    s3_environment: str, monkeypatch: pytest.MonkeyPatch, changes_nothing: bool, reason: str
) -> None:
    name = f"behind-{changes_nothing}".lower()
    make_s3_bucket(name)
    with s3_behind(s3_environment, changes_nothing=changes_nothing) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(BucketRefused, match=reason):
            check_bucket(open_bucket(f"s3://{name}"), "store")


@pytest.mark.parametrize("comes_to_know_by", ["writing", "reading"])
def test_nothing_is_written_where_a_directory_was_unmounted(comes_to_know_by: str, tmp_path: Path) -> None:
    root, away = tmp_path / "bucket", tmp_path / "away"
    root.mkdir()
    open_bucket(f"file://{root}").create("store/shard/1", b"one")
    bucket = open_bucket(f"file://{root}")
    if comes_to_know_by == "writing":
        assert bucket.create("store/shard/2", b"two")
    else:
        assert bucket.read("store/shard/1") == b"one"

    root.rename(away)
    root.mkdir()
    open_bucket(f"file://{root}")  # as `populace doctor` does, and a host that starts
    with pytest.raises(BucketUnreachable, match="the folder shard is gone; mount its disk again"):
        bucket.create("store/shard/3", b"three")
    with pytest.raises(BucketUnreachable):
        bucket.replace("store/shard/1", b"another")
    assert [path for path in root.rglob("*") if path.is_file()] == []

    root.rename(tmp_path / "bare")
    away.rename(root)
    assert bucket.create("store/shard/3", b"three")


def test_what_a_killed_writer_left_unfinished_leaves_a_directory(tmp_path: Path) -> None:
    bucket = open_bucket(f"file://{tmp_path}")
    left, written = tmp_path / ".incoming" / "left", tmp_path / ".incoming" / "being-written"
    left.write_bytes(b"data keys")
    written.write_bytes(b"data keys")
    hours_ago_s = left.stat().st_mtime - 2 * UNFINISHED_SECONDS_MAX
    os.utime(left, (hours_ago_s, hours_ago_s))

    bucket.remove([])

    assert not left.exists()
    assert written.exists()


def test_a_bucket_with_versions_is_refused(s3_environment: str) -> None:
    make_s3_bucket("versioned", versioned=True)

    with pytest.raises(BucketRefused, match="old versions"):
        check_bucket(open_bucket("s3://versioned"), "store")


def test_a_bucket_that_begins_to_keep_versions_removes_nothing_quietly(s3_environment: str) -> None:
    make_s3_bucket("versions-later")
    bucket = open_bucket("s3://versions-later")
    bucket.create("keys/1", b"one")
    bucket.remove(["keys/1"])
    keep_versions("versions-later", "Enabled")
    bucket.create("keys/2", b"two")

    with pytest.raises(BucketRefused, match="old versions"):
        bucket.remove(["keys/2"])

    keep_versions("versions-later", "Suspended")
    bucket.create("keys/3", b"three")
    bucket.remove(["keys/3"])
    check_bucket(bucket, "store")


def test_a_bucket_that_there_is_not_is_refused_by_name(s3_environment: str) -> None:
    absent = open_bucket("s3://never-made/populace")

    for ask in (lambda: check_bucket(absent, "store"), absent.folders, lambda: absent.names("store")):
        with pytest.raises(BucketRefused, match="there is no such bucket"):
            ask()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("journal", "begin with one of file://, s3://"),
        ("http://somewhere/bucket", "begin with one of"),
        ("file://journal/x", "three slashes"),
        ("file:///", "three slashes"),
        ("file:///absent/journal", "no such directory"),
    ],
)
def test_what_is_no_bucket_is_refused_by_name(url: str, reason: str) -> None:
    with pytest.raises(BucketRefused, match=reason):
        open_bucket(url)


def test_a_bucket_that_is_not_there_is_named(s3_environment: str) -> None:
    with pytest.raises((BucketRefused, BucketUnreachable), match="absent"):
        check_bucket(open_bucket("s3://absent"), "store")


def test_a_server_that_is_not_there_is_unreachable(
    s3_environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    bucket = open_bucket("s3://bucket")

    with pytest.raises(BucketUnreachable):
        bucket.create("a/1", b"one")


def test_secrets_of_a_url_are_not_shown() -> None:
    assert shown("s3://user:secret@bucket/prefix?token=x") == "s3://bucket/prefix"
