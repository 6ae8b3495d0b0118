"""The Train tab: its layout and comparisons; the form is in settings, what came of a run in results."""
