"""What a run came to: read-only views of ledgers, statistics, summaries, exports, and pages for the terminal.

Every other module of this package, and everyone above it, reads ledgers through `report.query` alone. Nothing
here writes to a ledger. Progress of a run while it lives is in `batchmill.live`.
"""
