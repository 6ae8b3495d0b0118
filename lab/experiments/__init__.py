"""Published experiments, a table of them. What users make up themselves belongs to lab.comparisons."""
