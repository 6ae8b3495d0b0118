"""Reading pictures that may come from anyone: what they are, what they cost, their bytes. Nothing of data sets."""
