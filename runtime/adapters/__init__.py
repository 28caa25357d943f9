"""LoRA adapters as files and serving images: reading, checking, packing and publishing.

An adapter arrives as a PEFT directory, of which everything is checked before it is used (``peft_directory``).
It is stored as one packed file (``packing``, ``publishing``) and served from an image in the base's data type
(``serving_image``). ``lora/`` has adapters as parameters, ``memory/`` has the δ-mem modules.

How an engine loads an adapter is in ``engines/``; how one is trained is in ``learning/``.
"""
