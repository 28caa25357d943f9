"""The trainer: a Ray actor that works on training jobs, those of several people in shared steps.

``actor`` is the process, ``loop`` takes jobs and runs them, ``runs`` turns a job into a learner and its
candidate, ``first_adapter`` is what it trains first, ``datasets`` makes the data to learn from and be judged
by. ``actor`` looks for models that are due, too; ``profiler`` makes the profiles of members for the
population.

Losses, optimisers and curricula are in ``learning/``; whether a candidate is promoted is a policy.
"""
