"""vLLM's errors, turned into ours."""

from collections.abc import Generator
from contextlib import contextmanager

from vllm.exceptions import QueueOverflowError, VLLMClientError, VLLMError
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from populace.actors.errors import EngineOverloaded, EngineUnavailable, InvalidRequest


@contextmanager
def our_errors() -> Generator[None]:
    """Turn every error of vLLM into one of ours."""
    try:
        yield
    except QueueOverflowError as error:
        raise EngineOverloaded(str(error)) from error
    except VLLMClientError as error:
        raise InvalidRequest(str(error)) from error
    except EngineDeadError as error:
        raise EngineUnavailable("its process died") from error
    except EngineGenerateError as error:
        raise EngineUnavailable(f"a request failed inside vLLM: {error.__cause__!r}") from error
    except VLLMError as error:
        raise EngineUnavailable(str(error)) from error
