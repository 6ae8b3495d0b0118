"""Losses, penalties, normalisation and dropout by hand: every step as numbers, to be laid beside autograd."""
