"""LoRA adapters as tensors: their parameters, and merging and comparing them.

``shape`` has the rank and the adapted layers, ``initial`` the parameters before training, ``trainable`` and
``layer`` the parameters themselves, and ``concatenation`` what a personal part on a lower revision says of
itself at rest. ``attached`` runs the adapters of many personal models in one batch.
``merging`` merges several adapters into one and ``merged_revision`` stores it as a revision; ``comparing``
measures how far two adapters are apart.

Losses, optimisers and data are in ``learning/``.
"""
