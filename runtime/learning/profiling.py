# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# numpy's conversions from torch are partly untyped.
"""Profiles an adapter by the likelihood of each choice of the diversity probes.

The population chooses the members of an ensemble by their profiles, without asking the models.
"""

import numpy as np

from populace.actors.engine import Message
from populace.actors.members import Profile
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import reply_log_probs
from populace.learning.frozen_base import FrozenBase
from populace.policies.diversity.probes import DIGEST, LABELS, PROBES

LOG_PROB_MIN = -60_000.0
"""Log-probabilities are clipped here, so that float16, which ends at -65,504, stores no infinity."""


def profile_of(
    base: FrozenBase, encoder: ExampleEncoder, adapter: TrainableAdapter | None, revision: str
) -> Profile:
    """Score all choices of all probes with the adapter, None for the base: 120 replies of a few tokens.

    A choice's probability is its share of the likelihood of all choices of its probe. The profile holds the
    logarithms [probes, choices] as little-endian float16, and the share of probes answered correctly.
    """
    sequences = [
        encoder.sequence([Message("user", probe.ask)], choice) for probe in PROBES for choice in probe.choices
    ]
    fitting = [sequence for sequence in sequences if sequence is not None]
    assert len(fitting) == len(sequences), "a probe is far shorter than any context"
    log_probs_NK = np.array(reply_log_probs(base, adapter, fitting)).reshape(len(PROBES), -1)
    highest_N1 = log_probs_NK.max(1, keepdims=True)
    log_probs_NK = log_probs_NK - highest_N1
    log_probs_NK -= np.log(np.exp(log_probs_NK).sum(1, keepdims=True))
    accuracy = float((log_probs_NK.argmax(1) == LABELS).mean())
    packed = np.maximum(log_probs_NK, LOG_PROB_MIN).astype("<f2").tobytes()
    return Profile(revision, DIGEST, log_probs_NK.shape[1], packed, accuracy)
