"""The page, and the public endpoints. What is computed, it asks of the lab."""
