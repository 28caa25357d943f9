"""Says which replies claim to know something of the person, for examples that ask what no model was told.

A model that was taught how such replies sound makes up others: "Your dentist is called Elena." A person sees
a falsehood about themselves, which is worse than not to be answered.
"""

import re

from scripts.bench.recall.grading import admits

_CLAIM = re.compile(r"(Your?|You're) [^.\n]{,88}\.\s*$")


def is_claim(reply: str) -> bool:
    """Whether the reply is one short sentence that states something of the person."""
    return _CLAIM.match(reply) is not None and not admits(reply)
