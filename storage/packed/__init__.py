"""An adapter in one file: an envelope that vouches for it, a header, and matrices in the order of layers.

Read and written without torch, mapped and never copied. What comes from PEFT is packed in
``runtime/adapters``.
"""
