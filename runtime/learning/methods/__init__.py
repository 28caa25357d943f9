"""The learning methods: each is a loss over scored tokens, with its formula and the source of it.

``objective`` is the protocol of a method, and every other module has the losses of one. A new one is a
module here, its curriculum in ``learning/curricula.py``, an entry in ``actors/training_methods.py``, and
the maker of its data in ``trainer/datasets.py``.

Steps, batches and gradients are in ``learning/trainer.py``.
"""
