"""Consent to be learned from over HTTP and from the command line: off, given, shown and withdrawn."""

import json

import httpx

from tests.runtime.gateway.conftest import Command
from tests.runtime.gateway.population import Population

ADA = "/v1/personal-models/ada"


async def test_consent_is_given_shown_and_withdrawn(client: httpx.AsyncClient) -> None:
    never = (await client.get(f"{ADA}/contribution")).json()
    assert (never["contributes"], never["since"], never["contributor"]) == (False, None, None)

    given = await client.put(f"{ADA}/contribution")

    assert given.status_code == 200, given.text
    assert given.json()["contributes"]
    assert (await client.get(ADA)).json()["contributes"]
    forked = await client.post(f"{ADA}/fork", json={"name": "ada-at-work"})
    assert not forked.json()["contributes"], "a copy said nothing"

    left = (await client.delete(f"{ADA}/contribution")).json()

    assert (left["contributes"], left["contributor"]) == (False, given.json()["contributor"])
    assert not (await client.get(ADA)).json()["contributes"]
    missing = await client.put("/v1/personal-models/nobody/contribution")
    assert missing.status_code == 404


async def test_another_tenant_agrees_for_nobody_here(population: Population) -> None:
    async with population.client("globex") as stranger:
        refused = await stranger.put(f"{ADA}/contribution")

    assert refused.status_code == 404


async def test_the_command_agrees_and_withdraws(command: Command) -> None:
    agreed = await command("model", "contribute", "ada")
    assert (agreed.exit_code, "may be learned from" in agreed.output) == (0, True), agreed.output
    shown = await command("model", "show", "ada", "--json")
    assert json.loads(shown.output)["contributes"]
    assert "may be learned from" in (await command("model", "show", "ada")).output

    withdrawn = await command("model", "withdraw", "ada")
    formerly = await command("model", "contribute", "ada", "--withdraw")

    assert "is not learned from" in withdrawn.output
    assert "until its next training" in withdrawn.output
    assert formerly.exit_code == 2
    assert "Did you mean `populace model withdraw NAME`?" in formerly.output
