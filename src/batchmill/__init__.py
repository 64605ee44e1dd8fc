"""Batchmill: durable batches."""
