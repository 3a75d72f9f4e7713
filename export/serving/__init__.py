"""A local model server: TensorFlow Serving's REST and gRPC for the newest version of one model.

It knows nothing about music: it serves whatever signatures that version has. `settings` imports
without the extra `serving`; all else needs it.
"""
