"""Names that a personal model may have."""

from populace.actors.errors import InvalidName
from populace.actors.turn import ModelId
from populace.storage.records.keys import RESERVED_MODEL_NAMES, name_problem


def check_model_name(model: ModelId) -> None:
    """Raise ``InvalidName`` unless tenant and name are allowed."""
    problem = name_problem(model.tenant)
    if problem is not None:
        raise InvalidName(model.tenant, problem)
    problem = name_problem(model.name, reserved=RESERVED_MODEL_NAMES)
    if problem is not None:
        raise InvalidName(model.name, problem)
