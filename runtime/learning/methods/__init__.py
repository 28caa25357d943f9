"""The learning methods, each a loss over scored tokens, with its formula and where that is from.

``objective`` is what a method answers to, and every other module is one method: ``sft``, ``preference``,
``rl``, ``context_distillation``. A new one is a module here, a name in ``actors/training.py``, and what it
learns from in ``trainer/datasets.py``.

Steps, batches and gradients are in ``learning/trainer.py``.
"""
