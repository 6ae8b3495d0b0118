"""Training, from a configuration to a run with weights, and going on with it. Comparing runs belongs to the lab."""
