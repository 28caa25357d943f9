"""The options of a training are the same over HTTP, from the command line and in Python."""

import dataclasses
import inspect
from typing import get_args

from populace.actors.training_methods import METHODS, Method
from populace.actors.training_options import TrainingOptions
from populace.cli.training import train
from populace.gateway.personal_models.schema import TrainingBody

FIELDS = {field.name: field.default for field in dataclasses.fields(TrainingOptions)}


def test_a_body_over_http_has_every_option_with_its_default() -> None:
    body = {name: field.default for name, field in TrainingBody.model_fields.items() if name != "tasks"}

    assert body == FIELDS


def test_the_command_line_has_every_option_with_its_default() -> None:
    parameters = inspect.signature(train).parameters
    flags = {name: parameter.default for name, parameter in parameters.items() if name in FIELDS}

    # A revision is made again by a command of its own: `populace model rebuild`.
    assert flags == {name: default for name, default in FIELDS.items() if name != "rebuilds"}


def test_every_method_has_a_recipe_and_its_options_are_fields() -> None:
    assert tuple(METHODS) == get_args(Method)
    assert {name for recipe in METHODS.values() for name in recipe.options} <= set(FIELDS)
