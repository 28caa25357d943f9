"""``populace bench recall``: what a person sees of a memory, over whole replies.

Each set (general requests, tellings, long chats, what was never told) asks an engine greedily and grades the
replies; ``bench`` runs all of them, ``tables`` makes the rows, ``grading`` is pure. The hand-written sets are
in ``tests/held_out`` and are never trained on.
"""
