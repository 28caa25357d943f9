"""``populace bench recall``: the effect of a memory on whole replies.

A module for each set (general requests, tellings, long chats, questions about what was never told, and so on)
asks an engine greedily and grades the replies. ``bench`` runs all sets, ``tables`` makes the rows, and
``grading`` is pure. The hand-written sets are in ``tests/held_out``; no memory module is trained on them.
"""
