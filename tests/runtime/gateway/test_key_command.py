"""`populace key` and `populace tenant` through a running gateway, with an admin key."""

import json

import pytest

from tests.runtime.gateway.conftest import Command
from tests.runtime.gateway.population import Population


@pytest.fixture
async def as_admin(
    command: Command, population: Population, url: str, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Run commands at the gateway's address with an admin key."""
    await population.add_key("admin", role="admin")
    monkeypatch.setenv("POPULACE_ADDRESS", url)
    monkeypatch.setenv("POPULACE_API_KEY", population.keys["admin"])
    return command


async def test_a_key_is_made_listed_shown_rotated_limited_and_revoked(
    as_admin: Command, population: Population
) -> None:
    made = await as_admin(
        "key", "create", "acme", "--label", "nightly", "--models", "ada, bob", "--expires-in", "2d", "--json"
    )
    assert made.exit_code == 0, made.output
    key = json.loads(made.stdout)
    listed = await as_admin("key", "ls", "--tenant", "acme")
    shown = await as_admin("key", "show", key["key_id"])
    rotated = await as_admin("key", "rotate", key["key_id"], "--grace", "0s", "--json")
    limited = await as_admin("key", "limit", key["key_id"], "--requests-per-minute", "600")
    revoked = await as_admin("key", "revoke", key["key_id"])
    after = await as_admin("key", "ls", "--json")

    assert key["key"].startswith(f"populace_{key['key_id']}_")
    assert key["expires"] - key["created"] == 2 * 86_400
    assert key["models"] == ["ada", "bob"]
    assert "nightly" in listed.output
    assert "ada, bob" in shown.output
    assert json.loads(rotated.stdout)["key"] != key["key"]
    assert limited.output == f"{key['key_id']}: 600 requests a minute.\n"
    assert revoked.output == f"Revoked {key['key_id']}.\n"
    [state] = [one["state"] for one in json.loads(after.stdout) if one["key_id"] == key["key_id"]]
    assert state == "revoked"
    stored = await population.directory.keys.find(key["key_id"])
    assert stored is not None
    assert stored.models == ()


async def test_a_new_key_is_printed_whole_with_what_to_do_with_it(as_admin: Command) -> None:
    made = await as_admin("key", "create", "acme", "--role", "read")

    key, empty, told, *_ = made.output.split("\n")
    assert key.startswith("populace_")
    assert (empty, told) == ("", "Keep it: only its hash is stored.")


async def test_a_tenant_is_listed_shown_and_limited_limit_by_limit(as_admin: Command) -> None:
    first = await as_admin("tenant", "limit", "acme", "--people", "1000", "--bytes", "20GiB")
    second = await as_admin("tenant", "limit", "acme", "--people", "none", "--open-jobs", "16", "--json")
    listed = await as_admin("tenant", "ls")
    shown = await as_admin("tenant", "show", "acme", "--json")

    assert first.output == "acme: 1,000 people, 21,474,836,480 bytes.\n"
    limits = json.loads(second.stdout)["limits"]
    assert {name: limit for name, limit in limits.items() if limit is not None} == {
        "bytes": 20 * 2**30,
        "open_jobs": 16,
    }
    assert "globex" in listed.output
    assert json.loads(shown.stdout)["people"] == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("key", "create", "acme", "--expires-in", "soon"), "such as 12h or 30d"),
        (("key", "create", "Acme"), "The name 'Acme' is not allowed"),
        (("key", "create", "acme", "--role", "admin", "--models", "ada"), "is for all models"),
        (("key", "revoke", "0123456789abcdef"), "no API key with the id 0123456789abcdef"),
        (("tenant", "limit", "acme", "--people", "many"), "people is limited by a number, or none"),
        (("tenant", "limit", "acme", "--people", "3GiB"), "people is limited by a number, or none"),
    ],
)
async def test_what_cannot_be_is_one_line_that_says_so(
    as_admin: Command, arguments: tuple[str, ...], told: str
) -> None:
    refused = await as_admin(*arguments)

    assert (refused.exit_code, type(refused.exception)) == (1, SystemExit)
    assert told in " ".join(refused.output.split())


async def test_a_key_without_the_role_is_told_which_one_it_takes(
    as_admin: Command, population: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POPULACE_API_KEY", population.keys["acme"])

    refused = await as_admin("tenant", "ls")

    assert refused.exit_code == 1
    assert "needs an API key with the role `admin`, and this key has the role `tenant`" in " ".join(
        refused.output.split()
    )
