"""Models that come with weights. Networks that are trained here belong to models.networks."""
