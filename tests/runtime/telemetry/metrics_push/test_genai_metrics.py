"""The names of the conventions for generative AI are those of the installed release of them."""

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics as conventions

from populace.actors import span_names
from populace.telemetry.metrics_push.push import TOKEN_TYPE, TOKEN_TYPES, VIEWS


def test_every_name_is_one_of_the_conventions() -> None:
    assert {view.name for view in VIEWS.values()} == {
        conventions.GEN_AI_SERVER_TIME_TO_FIRST_TOKEN,
        conventions.GEN_AI_SERVER_REQUEST_DURATION,
        conventions.GEN_AI_SERVER_TIME_PER_OUTPUT_TOKEN,
        conventions.GEN_AI_CLIENT_TOKEN_USAGE,
    }
    assert span_names.OPERATION_NAME == attributes.GEN_AI_OPERATION_NAME
    assert span_names.REQUEST_MODEL == attributes.GEN_AI_REQUEST_MODEL
    assert span_names.RESPONSE_MODEL == attributes.GEN_AI_RESPONSE_MODEL
    assert span_names.PROVIDER_NAME == attributes.GEN_AI_PROVIDER_NAME
    assert TOKEN_TYPE == attributes.GEN_AI_TOKEN_TYPE
    assert set(TOKEN_TYPES.values()) == {"input", "output"}
