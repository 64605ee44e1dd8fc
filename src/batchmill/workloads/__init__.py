"""The workloads that come with Batchmill: plug-ins, each on the public root only."""
