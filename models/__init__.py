"""Networks, weights, data, training and runs. Nothing here knows the lab or the page."""
