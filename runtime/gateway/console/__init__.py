"""The console at ``/console``: pages for a browser, which use the API as any client does.

What a browser loads lies in ``static``, as it is written; nothing is built. ``static/vendor`` has other
people's libraries, which ``scripts/vendor_console.py`` brings there. The console has no route of its own but
those of its files: whatever it shows or does is a route of the API.
"""
