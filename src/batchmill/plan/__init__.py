"""From a manifest to its jobs: expansion, file sets, tables, keys. Nothing here runs jobs or writes anything."""
