"""The sampling that a base's makers recommend, from its ``generation_config.json``."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from populace.actors.engine import OWN_WORDS_PENALTY_DEFAULT, SamplingDefaults
from populace.base.files import BaseInvalid

FILE = "generation_config.json"


class _GenerationConfig(BaseModel):
    """The fields that both engines sample by. Null, and a field that is not there, mean no preference."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    own_words_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None


def read_sampling_defaults(directory: Path) -> SamplingDefaults:
    """Read what a request samples by that does not say it. Raises ``BaseInvalid`` for a damaged file."""
    try:
        path = directory / FILE
        config = _GenerationConfig.model_validate(json.loads(path.read_bytes()) if path.exists() else {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise BaseInvalid(str(directory), f"{field} in {FILE}: {first['msg']}") from error
    except ValueError as error:
        raise BaseInvalid(str(directory), f"{FILE} is no JSON: {error}") from error
    recommended = config.model_dump(exclude_none=True)
    if not recommended:
        return SamplingDefaults(own_words_penalty=OWN_WORDS_PENALTY_DEFAULT)
    return SamplingDefaults(**recommended)
