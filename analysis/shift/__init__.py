"""Moving pictures and asking about all of the places. How well the answers agree is measured elsewhere."""
