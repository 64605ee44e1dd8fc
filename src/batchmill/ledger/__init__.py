"""The durable side: the home and its runs, one SQLite ledger a run with one writer, and immutable object files.

`home` opens and makes runs, `lease` says who may write, `journal` writes, `reader` reads; nothing here decides.
"""
