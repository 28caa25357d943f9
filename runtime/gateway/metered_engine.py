"""Charges the tokens of replies to the limits of who asks for them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from populace.actors.engine import Delta, GenerateRequest
from populace.actors.rates import estimated_tokens
from populace.actors.wrapped_engine import WrappedEngine
from populace.gateway.http.limits import Allowance, current_allowance


class MeteredEngine(WrappedEngine):
    """Any ``Engine``. A reply to a request with a limit on tokens reserves what it may take before it begins.

    What it did not take is given back once it has ended. The first reply of a request waits for no tokens:
    it is refused, with all others of the request that begin with it. Later ones are of a request that has
    begun, and what they take is owed.
    """

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        allowance = current_allowance()
        if allowance is None or not allowance.limits_tokens:
            return self._engine.generate(request)
        reserved = estimated_tokens(request)
        allowance.plan(reserved)
        return self._metered(request, allowance, reserved)

    async def _metered(
        self, request: GenerateRequest, allowance: Allowance, reserved: float
    ) -> AsyncGenerator[Delta, None]:
        await allowance.reserve()
        prompt = reply = 0
        try:
            async with aclosing(self._engine.generate(request)) as deltas:
                async for delta in deltas:
                    prompt = delta.prompt_tokens
                    reply += len(delta.token_ids)
                    yield delta
        finally:
            allowance.settle(reserved, prompt + reply)
