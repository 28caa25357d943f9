"""Learning from a model's own replies: rewards that anybody can check, and context that becomes weights.

``rounds`` samples, judges and takes steps; ``reward`` and ``distillation`` are the two judges; ``sampler`` is
an engine that is not the trainer's. ``tasks`` and ``log_queries`` are what is asked.
"""
