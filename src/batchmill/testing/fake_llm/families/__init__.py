"""The protocols that the fake service speaks: one module each, and what reading them has in common."""
