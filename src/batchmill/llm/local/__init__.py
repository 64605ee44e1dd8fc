"""Models that run on this machine without a service: their weights, the chat server, the embedder.

`weights` fetches and finds files, `server` and `child` run the chat server, `provider` and `transport` bring requests
to it, `command` is `batchmill models`.
"""
