"""Files over HTTP: uploaded whole, listed in pages, read to the byte, deleted; and nobody else's."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from openai.types import FileDeleted, FileObject

from tests.limits import HANG_SECONDS
from tests.runtime.gateway.population import FILE_BYTES_MAX, TENANT_FILE_BYTES_MAX, Population

LINES = b'{"messages": []}\n' * 3


async def upload(
    client: httpx.AsyncClient, content: bytes = LINES, purpose: str = "fine-tune", **fields: str
) -> httpx.Response:
    return await client.post(
        "/v1/files", files={"file": ("lines.jsonl", content)}, data={"purpose": purpose, **fields}
    )


async def test_a_file_is_described_as_openai_does_and_read_to_the_byte(client: httpx.AsyncClient) -> None:
    made = (await upload(client)).json()

    file = FileObject.model_validate(made, strict=True)
    assert (file.bytes, file.filename, file.purpose, file.status) == (
        len(LINES),
        "lines.jsonl",
        "fine-tune",
        "processed",
    )
    assert (await client.get(f"/v1/files/{file.id}")).json() == made
    content = await client.get(f"/v1/files/{file.id}/content")
    assert (content.content, content.headers["content-length"]) == (LINES, str(len(LINES)))


async def test_a_file_is_deleted_with_confirmation(client: httpx.AsyncClient) -> None:
    path = f"/v1/files/{(await upload(client)).json()['id']}"

    gone = FileDeleted.model_validate((await client.delete(path)).json(), strict=True)

    assert (path.endswith(gone.id), gone.deleted) == (True, True)
    for reply in (await client.get(path), await client.get(f"{path}/content"), await client.delete(path)):
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "file_not_found")


async def test_files_are_listed_in_pages_in_either_order(client: httpx.AsyncClient) -> None:
    ids = [(await upload(client, bytes([number]))).json()["id"] for number in range(3)]
    listed = (await client.get("/v1/files", params={"order": "asc"})).json()
    oldest_first = [file["id"] for file in listed["data"]]

    assert sorted(oldest_first) == sorted(ids)
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, *oldest_first[::2])
    assert [file["id"] for file in (await client.get("/v1/files")).json()["data"]] == oldest_first[::-1]
    page = (await client.get("/v1/files", params={"limit": 2, "order": "asc"})).json()
    assert ([file["id"] for file in page["data"]], page["has_more"]) == (oldest_first[:2], True)
    rest = (await client.get("/v1/files", params={"after": page["last_id"], "order": "asc"})).json()
    assert ([file["id"] for file in rest["data"]], rest["has_more"]) == (oldest_first[2:], False)
    assert (await client.get("/v1/files", params={"purpose": "user_data"})).json()["data"] == []


async def test_another_tenants_file_is_not_found(population: Population, client: httpx.AsyncClient) -> None:
    path = f"/v1/files/{(await upload(client)).json()['id']}"

    async with population.client("globex") as stranger:
        assert (await stranger.get("/v1/files")).json()["data"] == []
        for reply in (
            await stranger.get(path),
            await stranger.get(f"{path}/content"),
            await stranger.delete(path),
        ):
            assert (reply.status_code, reply.json()["error"]["code"]) == (404, "file_not_found")
    assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("files", "fields", "parameter"),
    [
        ({"file": ("a", b"1")}, {}, "purpose"),
        ({"file": ("a", b"1")}, {"purpose": "assistants"}, "purpose"),
        ({"file": ("a", b"1")}, {"purpose": "fine-tune", "colour": "red"}, "colour"),
        ({"other": ("a", b"1")}, {"purpose": "fine-tune"}, "other"),
        ({"purpose": ("a", b"fine-tune")}, {"file": "1"}, "file"),
        (
            {"file": ("a", b"1")},
            {"purpose": "fine-tune", "expires_after[anchor]": "now", "expires_after[seconds]": "3600"},
            "expires_after.anchor",
        ),
        (
            {"file": ("a", b"1")},
            {"purpose": "fine-tune", "expires_after[anchor]": "created_at", "expires_after[seconds]": "²5"},
            "expires_after.seconds",
        ),
    ],
)
async def test_a_form_that_is_wrong_is_refused_by_name(
    client: httpx.AsyncClient, files: dict[str, Any], fields: dict[str, str], parameter: str
) -> None:
    reply = await client.post("/v1/files", files=files, data=fields)

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, parameter)
    assert (await client.get("/v1/files")).json()["data"] == []
    assert (await upload(client)).status_code == 200, "the turn is over"


@pytest.mark.parametrize(
    "content_type", ["application/json", "multipart/form-data", "multipart/form-data; boundary=x"]
)
async def test_a_body_that_is_no_form_is_400(client: httpx.AsyncClient, content_type: str) -> None:
    reply = await client.post("/v1/files", content=b"{}", headers={"Content-Type": content_type})

    assert reply.status_code == 400
    assert "JSON" not in reply.json()["error"]["message"]
    assert (await upload(client)).status_code == 200


@pytest.mark.parametrize(
    ("charset", "name", "filename"),
    [
        ("utf-7", "file", "+2AA-"),
        ("utf-7", "+2AA-", "lines"),
        ("undefined", "file", "lines"),
        ("punycode", "file", "\x7f-"),
    ],
)
async def test_a_form_whose_names_are_no_text_is_refused_and_leaves_nothing(
    population: Population, client: httpx.AsyncClient, charset: str, name: str, filename: str
) -> None:
    head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"'
    purpose = 'Content-Disposition: form-data; name="purpose"\r\n\r\nfine-tune'
    body = f"--x\r\n{head}\r\n\r\n1\r\n--x\r\n{purpose}\r\n--x--\r\n"
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}

    reply = await client.post("/v1/files", content=body.encode("latin-1"), headers=headers)

    assert reply.status_code == 400
    assert not [path for path in population.path.glob("uploads/*/*") if path.is_file()]
    assert (await upload(client)).status_code == 200


async def test_a_form_of_two_files_is_told_so(client: httpx.AsyncClient) -> None:
    two = [("file", ("a", b"1")), ("file", ("b", b"2"))]

    reply = await client.post("/v1/files", files=two, data={"purpose": "fine-tune"})

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_request")
    assert "Too many files" in reply.json()["error"]["message"]


async def test_a_file_expires_when_its_uploader_says(client: httpx.AsyncClient) -> None:
    expiry = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = (await upload(client, LINES, "fine-tune", **expiry)).json()

    assert file["expires_at"] - file["created_at"] == 3600


async def test_a_damaged_file_is_an_error_of_its_own_and_can_be_deleted(
    population: Population, client: httpx.AsyncClient
) -> None:
    damaged, whole = [(await upload(client)).json()["id"] for _ in range(2)]
    (population.path / "uploads" / "acme" / f"{damaged}.info").write_bytes(b"damaged")

    assert [file["id"] for file in (await client.get("/v1/files")).json()["data"]] == [whole]
    assert (await client.get(f"/v1/files/{damaged}")).status_code == 500
    assert (await client.delete(f"/v1/files/{damaged}")).status_code == 200
    assert (await client.get(f"/v1/files/{damaged}")).status_code == 404


async def test_a_content_that_cannot_be_read_has_a_status(
    population: Population, client: httpx.AsyncClient
) -> None:
    gone, damaged = [(await upload(client)).json()["id"] for _ in range(2)]
    (population.path / "uploads" / "acme" / f"{gone}.content").unlink()
    (population.path / "uploads" / "acme" / f"{damaged}.content").write_bytes(b"damaged")

    statuses = [(await client.get(f"/v1/files/{one}/content")).status_code for one in (gone, damaged)]

    assert statuses == [404, 500]


async def test_a_file_that_is_too_large_is_refused_before_it_is_read(client: httpx.AsyncClient) -> None:
    sent = 0

    async def gibibyte() -> AsyncIterator[bytes]:
        nonlocal sent
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        yield head
        while sent < 2**30:
            sent += 2**16
            yield bytes(2**16)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    refused = await client.post("/v1/files", content=gibibyte(), headers=headers)
    declared = await upload(client, bytes(FILE_BYTES_MAX + 2**17))
    just_over = await upload(client, bytes(FILE_BYTES_MAX + 1))

    for reply in (refused, declared, just_over):
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")
    assert sent < 4 * FILE_BYTES_MAX
    assert (await upload(client, bytes(FILE_BYTES_MAX))).status_code == 200


async def test_all_files_of_a_tenant_have_a_limit_together(client: httpx.AsyncClient) -> None:
    assert (await upload(client, bytes(FILE_BYTES_MAX))).status_code == 200

    full = await upload(client, bytes(TENANT_FILE_BYTES_MAX - FILE_BYTES_MAX + 1))

    assert (full.status_code, full.json()["error"]["code"]) == (409, "files_full")
    assert full.headers["x-should-retry"] == "false"


async def test_files_outlive_a_restart(population: Population) -> None:
    async with population.client() as client:
        made = (await upload(client)).json()
    population.restart()

    async with population.client() as client:
        assert (await client.get(f"/v1/files/{made['id']}/content")).content == LINES


async def test_the_official_client_uploads_waits_reads_lists_and_deletes(
    population: Population, url: str
) -> None:
    async with openai.AsyncOpenAI(
        api_key=population.keys["acme"], base_url=f"{url}/v1", max_retries=0, timeout=HANG_SECONDS
    ) as client:
        files = [
            await client.files.create(file=("lines.jsonl", LINES), purpose="fine-tune") for _ in range(3)
        ]
        ready = await client.files.wait_for_processing(files[0].id)
        content = await client.files.content(files[0].id)
        listed = [file.id async for file in client.files.list(limit=1)]
        deleted = await client.files.delete(files[0].id)

    assert (ready, content.content, deleted.deleted) == (files[0], LINES, True)
    assert sorted(listed) == sorted(file.id for file in files)
