# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# boto3 ships no types.
"""What a journal needs of an object store: a directory, one in memory, and S3 as moto has it."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import MemoryStore

from populace.storage.journal.bucket import Bucket, check_bucket, shown
from populace.storage.journal.errors import BucketRefused, BucketUnreachable
from populace.storage.journal.object_bucket import ObjectBucket
from populace.storage.journal.opening import open_bucket
from tests.limits import HANG_SECONDS


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


def make_s3_bucket(name: str, *, versioned: bool = False) -> None:
    client: Any = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")
    client.create_bucket(Bucket=name)
    if versioned:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})


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


def test_a_bucket_with_versions_is_refused(s3_environment: str) -> None:
    make_s3_bucket("versioned", versioned=True)

    with pytest.raises(BucketRefused, match="old versions"):
        check_bucket(open_bucket("s3://versioned"), "store")


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
