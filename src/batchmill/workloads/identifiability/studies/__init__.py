"""Studies: what many analyses say together.

`comparison` is the report of a run of `identifiability` jobs, `sensitivity` and `scaling` are tasks of their own.
`families` makes models of any size, `fits` and `markdown` are what reports are made with.
"""
