"""Whether the maps of attribution methods can be trusted: for one picture, and as a job over many."""
