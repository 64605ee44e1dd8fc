"""Drives a run: one loop between the scheduler, the executors and the journal, with everything it waits for."""
