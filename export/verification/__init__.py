"""Checks of an exported model, in a fresh process that knows nothing of the project.

`verify.py` starts `program.py` there. That and the files it imports import nothing of the project
and one another by their plain names: they are found beside it.
"""
