"""Checks of an exported model that import nothing of the project.

`export.verify` starts `program.py` here in a fresh process, where these files are each other's only
company. They are found beside it, so they import one another by their plain names.
"""
