"""Training of adapters from interaction logs and the feedback on them.

``examples`` and ``curricula`` make training examples of interactions, ``methods/`` has the loss of each
method, and ``trainer`` and ``session`` take the steps of many personal models in one batch. ``on_policy/``
trains on the model's own replies. Memory modules are trained by ``examples/memory_module``.

This package computes and does not import Ray. The package ``trainer/`` decides which model trains when.
"""
