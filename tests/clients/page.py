"""``docs/clients.md``, made of the clients' pins and of what became of each scenario."""

from collections.abc import Iterator
from pathlib import Path

from tests.clients.pinned import WORKS, Client, Outcomes

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"

INTRODUCTION = """\
# Clients

Find your client here, with the lines that point it at Populace and with what works in it, tried with a real
server: the default base on vLLM. Each client has a program in
[`tests/clients/programs`](../tests/clients/programs), which runs with the versions named here before a
release, and that of OpenAI's own client in CI. It must end as this page says, and the turns that it made, and
no others, must be in the person's log. `make clients-page` makes this page anew from a run. Of a refusal it
has the words that the caller reads.
"""

NOT_RUN = """\
## Not run

| client | why |
|---|---|
| Open WebUI 0.12.4 | its backend is 242 packages and 2.8 GB |
| LibreChat, SillyTavern | they are applications with a browser and servers of their own |

The backend of Open WebUI was tried once by hand: its list of models, a chat of two turns with the second in a
stream, and its prompts for titles and tags, which left no turn. Its new prompt for follow-ups left one; it is
recognised since. How to set these up is in [`front-ends.md`](front-ends.md).
"""


def render(clients: dict[str, Client], outcomes: Outcomes) -> str:
    """Return the whole page."""
    overview = "\n".join(
        ["| client | versions | works | refused |", "|---|---|---|---|", *_overview(clients, outcomes)]
    )
    sections = [_section(client, outcomes[name]) for name, client in clients.items()]
    return "\n".join([INTRODUCTION, overview + "\n", *sections, NOT_RUN])


def _overview(clients: dict[str, Client], outcomes: Outcomes) -> Iterator[str]:
    for name, client in clients.items():
        said = list(outcomes[name].values())
        works = said.count(WORKS)
        yield f"| {client.title} | {versions(client)} | {works} | {len(said) - works or ''} |"


def versions(client: Client) -> str:
    """Return what is installed, as a reader knows it."""
    named = [pin.replace("==", " ") for pin in client.packages if "nodejs" not in pin]
    named += [" ".join(pin.rsplit("@", 1)) for pin in client.npm]
    return ", ".join(named) or "that of the engine"


def _section(client: Client, outcomes: dict[str, str]) -> str:
    rows = [f"| {scenario} | {_cell(outcome)} |" for scenario, outcome in outcomes.items()]
    return "\n".join([f"## {client.title}\n", client.use.strip(), "", "| what | |", "|---|---|", *rows, ""])


def _cell(outcome: str) -> str:
    if outcome == WORKS:
        return WORKS
    return "refused: " + outcome.replace("|", "\\|").replace("\n", " ")
