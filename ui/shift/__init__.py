"""The Shift tab: maps of all shifts, layers, the self-check."""
