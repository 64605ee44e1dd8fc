"""How far a run is while it lives: one tracker that folds events into facts, and the displays that show them.

What a run came to, read from its ledger, is in `batchmill.report`.
"""
