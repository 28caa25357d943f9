"""``/v1/personal-models/{name}/suite``: the questions that a model has to answer, and asking them."""

from fastapi import Request
from fastapi.responses import Response

from populace.actors.suites import suite_of
from populace.api.suites import DeletedSuiteObject, SuiteObject, SuiteResultObject
from populace.gateway.http.answers import answer
from populace.gateway.http.context import Caller, gateway_of, keyed_router
from populace.gateway.http.disconnect import while_connected
from populace.gateway.http.needs import needs
from populace.gateway.http.target import named_model
from populace.gateway.personal_models.schema import EvaluationBody, SuiteBody
from populace.suites.asking import ask_suite

router = keyed_router()

SUITE_PATH = "/v1/personal-models/{name}/suite"


@router.put(SUITE_PATH, response_model=SuiteObject)
@needs("tenant")
async def keep_suite(request: Request, caller: Caller, name: str, body: SuiteBody) -> Response:
    """Store the questions that the model has to answer, instead of earlier ones.

    No training replaces a revision by one that fails a question that it passed.
    """
    model, suite = named_model(caller, name), suite_of(body.questions)
    return answer(SuiteObject.of(model, await gateway_of(request).hosts.suites.keep(model, suite)))


@router.get(SUITE_PATH, response_model=SuiteObject)
@needs("read")
async def show_suite(request: Request, caller: Caller, name: str) -> Response:
    """Return the stored questions."""
    model = named_model(caller, name)
    return answer(SuiteObject.of(model, await gateway_of(request).hosts.suites.show(model)))


@router.delete(SUITE_PATH, response_model=DeletedSuiteObject)
@needs("tenant")
async def remove_suite(request: Request, caller: Caller, name: str) -> Response:
    """Remove the stored questions, if there are any."""
    await gateway_of(request).hosts.suites.remove(named_model(caller, name))
    return answer(DeletedSuiteObject(id=name))


@router.post(f"{SUITE_PATH}/evaluations", response_model=SuiteResultObject)
@needs("tenant")
async def evaluate(request: Request, caller: Caller, name: str, body: EvaluationBody) -> Response:
    """Ask the stored questions as chats that begin with them, greedily, and say which replies pass.

    They keep to corrections and are told from earlier turns, as by default. Nothing is logged or
    remembered. ``revision`` is an alias, a digest or its beginning, or ``base``.
    """
    gateway, model = gateway_of(request), named_model(caller, name)
    suite = await gateway.hosts.suites.show(model)
    asking = ask_suite(
        gateway.hosts, model, suite, revision=body.revision, turn_seconds_max=gateway.turn_seconds_max
    )
    return answer(SuiteResultObject.of(await while_connected(request, asking)))
