"""Frozen records that all parts share: no input, no output, no clock. Import from the module that holds the name."""
