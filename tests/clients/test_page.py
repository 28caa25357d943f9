"""The page about clients says what the pins and the expectations say, which CI compares with a run."""

from tests.clients.page import PAGE, render
from tests.clients.pinned import read_clients, read_expected
from tests.house.source_tree import ROOT


def test_the_page_has_the_pinned_clients_and_the_expected_outcomes() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(read_clients(), read_expected())


def test_every_client_has_expectations_and_every_pin_one_version() -> None:
    clients = read_clients()

    assert list(read_expected()) == list(clients)
    for client in clients.values():
        assert client.path.is_file()
        assert [pin for pin in (*client.packages, *client.needs) if pin.count("==") != 1] == []
        assert [
            pin for pin in (*client.npm, *client.npm_needs) if not pin.rpartition("@")[2][:1].isdigit()
        ] == []


def test_every_program_belongs_to_a_client() -> None:
    programs = {path.name for path in (ROOT / "tests/clients/programs").iterdir() if path.is_file()}

    assert programs - {"scenarios.py"} == {client.program for client in read_clients().values()}


def test_every_scenario_that_is_expected_is_in_its_program() -> None:
    clients = read_clients()

    absent = [
        (client, scenario)
        for client, scenarios in read_expected().items()
        for scenario in scenarios
        if scenario not in clients[client].path.read_text(encoding="utf-8").replace('\\"', '"')
    ]
    assert absent == []
