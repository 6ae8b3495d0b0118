"""Models over whole data sets, in chunks that survive a stop. Single pictures belong to lab.shifts."""
