"""The arguments and options that several commands have, each with its help."""

from pathlib import Path
from typing import Annotated

import typer


def names_of_models(incomplete: str) -> list[str]:
    """Return the names that a shell may complete this to; none where no Populace answers."""
    from populace.cli.console import CommandFailed
    from populace.cli.gateway_client import GatewayClient
    from populace.settings.settings import Settings
    from populace.storage.records.errors import PopulaceError

    try:
        with GatewayClient.of_settings(Settings.from_environment()) as client:
            page = client.request("GET", "/v1/personal-models", params={"prefix": incomplete, "limit": 50})
    except (PopulaceError, CommandFailed):
        return []
    return [model["id"] for model in page["data"]]


Name = Annotated[str, typer.Argument(help="The model's name.", autocompletion=names_of_models)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Base = Annotated[
    str | None, typer.Option(help="Base model: a local directory or a hub id. Default: the default base.")
]
Data = Annotated[Path | None, typer.Option(help="The data directory. Default: POPULACE_DATA.")]
ConfigFile = Annotated[
    Path | None, typer.Option(help="Configuration file. Default: populace.toml beside the API keys.")
]
