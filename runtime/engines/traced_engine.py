"""Records what is asked of an engine, by the semantic conventions for generative AI."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from populace.actors import span_names as names
from populace.actors.engine import BaseInfo, Delta, GenerateRequest
from populace.actors.wrapped_engine import WrappedEngine
from populace.storage.records.named import Named
from populace.telemetry.calls import current_caller
from populace.telemetry.tracing.spans import TRACER


class TracedEngine(WrappedEngine):
    """Any ``Engine``; if traces are on, each reply is a span from its first read to its last token."""

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        if not TRACER.is_on or current_caller().trace is None:
            return self._engine.generate(request)
        return self._recorded(request)

    async def _recorded(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        operation = names.CHAT if isinstance(request.prompt, tuple) else names.TEXT_COMPLETION
        attributes = _attributes(request, operation, self.base)
        # Begun by the first read: of many choices the last ones wait for that, and some are never read.
        span = TRACER.span(f"{operation} {self.base.name}", attributes, kind="client")
        began_s, tokens, is_finished = time.monotonic(), 0, False
        try:
            async with aclosing(self._engine.generate(request)) as deltas:
                while True:
                    # Only while the engine works: a reader's own spans are not below this one.
                    with span.current():
                        delta = await anext(deltas, None)
                    if delta is None:
                        return
                    if tokens == 0 and delta.token_ids:
                        span.set(names.FIRST_SECONDS, time.monotonic() - began_s)
                    tokens += len(delta.token_ids)
                    if delta.finish_reason is not None:
                        is_finished = True
                        span.set(names.FINISH_REASONS, (delta.finish_reason,))
                        span.set(names.INPUT_TOKENS, delta.prompt_tokens)
                    yield delta
        except BaseException as error:
            span.fail(error)
            raise
        finally:
            span.set(names.OUTPUT_TOKENS, tokens)
            span.set(names.FINISHED, is_finished)
            span.end()


def _attributes(request: GenerateRequest, operation: str, base: BaseInfo) -> dict[str, object]:
    sampling = request.sampling
    return {
        names.OPERATION_NAME: operation,
        names.PROVIDER_NAME: names.PROVIDER,
        # The personal model's name is a person's.
        names.REQUEST_MODEL: base.name,
        names.RESPONSE_MODEL: base.name,
        names.MAX_TOKENS: sampling.max_tokens,
        names.TEMPERATURE: sampling.temperature,
        names.TOP_P: sampling.top_p,
        names.TOP_K: sampling.top_k or None,
        names.SEED: sampling.seed,
        names.FREQUENCY_PENALTY: sampling.frequency_penalty or None,
        names.PRESENCE_PENALTY: sampling.presence_penalty or None,
        names.MODEL: Named(request.owner.name) if request.owner.name else None,
        names.STREAM: request.stream,
        names.ADAPTER: None if request.adapter is None else request.adapter.digest[: names.ADAPTER_DIGITS],
    }
