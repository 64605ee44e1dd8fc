"""Figures that README and docs quote, each from a command here: `python -m benchmarks [NAME...]`."""
