"""Training of memory modules, once for each base, on generated conversations of invented people.

``facts`` and ``own_words`` generate episodes, the latter from ``corpus/``, and ``encoding`` makes tokens of
them. Modules with gates are trained on hidden inputs that the base computes once (``gated_training``), those
without by gradient descent through the base (``training``). ``recall`` scores modules without gates.

Real logs are never used here, and neither is ``tests/held_out``.
"""
