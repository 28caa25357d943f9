"""Learning: from a log and what was thought of it to an adapter.

``examples`` and ``curricula`` turn interactions into what is learned, ``methods/`` has a loss for each
method, ``trainer`` and ``session`` take the steps, many people's in one batch. ``on_policy/`` learns from the
model's own replies. Memory modules are trained in ``module_training/``.

This package computes and knows no Ray: who learns when is up to ``trainer/``.
"""
