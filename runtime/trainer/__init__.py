"""The trainer: a Ray actor that works on training jobs, several people's in shared steps.

``actor`` is the process, ``loop`` takes jobs and runs them, ``runs`` is one model's way from a job to a
candidate, ``datasets`` is what it learns and is judged by. ``consolidator`` looks for models that are due,
``profiler`` reads members for the population.

Losses, optimisers and curricula are in ``learning/``; whether a candidate is promoted is a policy.
"""
