"""LoRA adapters as files and as images: read, checked, packed, published, made ready for an engine.

An adapter comes in as a directory of PEFT's, which is checked in full before a model sees a byte of it
(``peft_directory``), is stored as one packed file (``packing``, ``publishing``), and is served from an image
in the base's type (``serving_image``). ``lora/`` has adapters as parameters, ``memory/`` the δ-mem modules.

What an engine does with an adapter is in ``engines/``; how one is trained is in ``learning/``.
"""
