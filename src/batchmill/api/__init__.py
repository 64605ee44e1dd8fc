"""What users call, put together from the parts: batches from manifests and from Python, runs and their results.

The public names are those of `batchmill` itself; the modules here are for the command line too.
"""
