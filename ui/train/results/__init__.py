"""What came of a run: curves, mistakes, snapshots, the table of runs. Nothing that starts a new kind of training."""
