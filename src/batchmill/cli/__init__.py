"""The command line: one file a command, each a function whose heavy imports happen when it runs.

`app` puts them together and turns errors into messages and exit codes; `options` holds what commands share,
`output` how they speak. What commands do stands in `batchmill.api` and `batchmill.report`.
"""
