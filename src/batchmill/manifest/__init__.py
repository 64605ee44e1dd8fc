"""From text to Manifest: YAML with the line and column of every value, all problems at once, foreign formats.

Not here: what a manifest means (jobs, names, keys), which is `batchmill.plan`.
"""
