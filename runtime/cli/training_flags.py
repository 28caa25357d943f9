"""The command line flags of a training, made from the fields of ``TrainingOptions``."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any

import typer

from populace.actors.training_options import OPTIONS, TrainingOptions

# A revision is made again by a command of its own: `populace model rebuild`.
FLAGS = [name for name in OPTIONS if name != "rebuilds"]


def with_training_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter ``options`` of a command, which is ``TrainingOptions``, by a flag for each."""

    @wraps(command)
    def run(**given: Any) -> None:
        command(options=TrainingOptions(**{name: given.pop(name) for name in FLAGS}), **given)

    parameters: list[Parameter] = []
    for parameter in signature(command).parameters.values():
        parameters += map(_flag, FLAGS) if parameter.name == "options" else [parameter]
    described: Any = run
    described.__signature__ = signature(command).replace(
        parameters=[parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    described.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _flag(name: str) -> Parameter:
    option, shown = OPTIONS[name], name.replace("_", "-")
    # Without a metavar the choices, which the description names, would take half of the screen's width.
    metavar = f"<{shown}>" if option.choices else None
    flag = typer.Option(
        f"--{shown}", help=option.description, show_default=option.unset or True, metavar=metavar
    )
    annotation = Annotated[option.type, flag]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=option.default, annotation=annotation)
