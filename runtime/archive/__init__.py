"""One personal model as one file: a zip that its person can read, and any Populace can take in again.

``layout`` defines the files in an archive, ``exporting`` writes one, ``importing`` takes in what ``reading``
reads. An archive is untrusted: it is whole, sound and bounded, or it is refused as ``ArchiveInvalid``.
Adapters in it are checked in a process of their own (``adapter_check``). So are those that are uploaded alone
(``adapter_upload``), and merging and comparing adapters is done there too (``adapter_work``): a gateway has
no torch.

Backups of whole stores are in ``storage/backups``.
"""
