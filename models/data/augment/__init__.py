"""Random changes of pictures in training. Changes that are measured belong to analysis.shift."""
