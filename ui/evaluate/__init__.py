"""The Evaluate tab: data sets, repairs, experiments."""
