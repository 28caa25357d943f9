"""An adapter in one file: an envelope with its digest, a header, and matrices in the order of layers.

It is read and written without torch, mapped and never copied. The adapters of PEFT are packed in
``runtime/adapters``.
"""
