"""The run directory and the process that works on it. What the work is, it does not know."""
