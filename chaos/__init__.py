"""Breaks runs on purpose and checks that nothing was lost: `python -m chaos --seconds 120 --seed 1`."""
