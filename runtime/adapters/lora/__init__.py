"""LoRA adapters as tensors: what training moves, what merging adds up, what comparing tells apart.

``shape`` says which layers a person's adapter has and of what rank, ``initial`` where training begins,
``trainable`` and ``layer`` hold the parameters. ``attached`` runs many people's adapters in one batch.
``merging`` and ``comparing`` never make a full weight difference; ``merged_revision`` makes a revision of
several.

No losses, no optimisers and no data: those are in ``learning/``.
"""
