"""Networks that we build from a table, their options and parts. Published ones belong to models.zoo."""
