"""Asks people's own suites and checks the replies.

``asking`` asks a model as it is served, in replies that leave no trace; ``checking`` says which replies pass,
for that and for the evaluation gate; ``matching`` runs people's regular expressions in a process of its own.
``rewards`` are the functions by which trainings judge replies, by name.

What a suite is and where it is kept is in ``actors/suites.py``; nothing here loads a model.
"""
