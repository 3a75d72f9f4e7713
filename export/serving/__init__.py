"""A local model server: TensorFlow Serving's REST and gRPC for one SavedModel.

It knows nothing about music: it serves whatever signatures the newest version has. The package
imports without the extra `serving`; `server` and what stands below it need it.
"""
