"""The documents workload."""
