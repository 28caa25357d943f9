"""Large things written piece by piece.

``frames`` are msgpack arrays one after the other, and ``sealed_stream`` seals a stream in chunks. Backups,
uploads and the objects of a journal consist of them.
"""
