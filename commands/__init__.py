"""The commands of cli.py, by subject. What they do, they ask of the lab."""
