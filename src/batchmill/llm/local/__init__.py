"""Models that run on this machine without a service: their weights, the chat server, the embedder."""
