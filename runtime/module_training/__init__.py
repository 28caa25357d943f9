"""Training memory modules: for everybody, before anybody is served, from made-up people.

``own_words`` and ``episodes`` make conversations from the ``corpus/``, ``encoding`` turns them into tokens.
Modules with gates are fitted, solved for and trained from what the base computes once (``gated_training``);
those without are trained through the base (``training``). ``recall`` is what both are judged by.

Nothing of a real person's log is used here, and nothing of ``tests/held_out``.
"""
