"""Recordings, their spectrograms, and a small network that looks for a word in them at one place or everywhere."""
