"""Shared parts of all routes: who calls, for which model, and how errors are answered.

Each request is bounded (``body_limit``), counted, named (``request_id``), and belongs to the tenant of its
API key (``access``, ``context``). ``target`` reads the field ``model``, ``errors`` has the status of each
error class, and ``problems`` says in the caller's terms what is wrong with a body. ``file_work`` keeps work
on files from holding up the rest. No route is here, and nothing here knows one.
"""
