"""The files of the base model that all personal models share: found or made, checked, and named.

``prepare_base`` is the way in: it returns the directory and the fingerprint of the base that was asked for,
and makes the default base when there is none. ``memory_module`` says which memory module a base is served
with.

Weights are loaded elsewhere, by the engines and the trainer. Nothing here computes with a base.
"""
