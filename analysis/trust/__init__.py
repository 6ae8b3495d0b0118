"""Whether a map of evidence can be trusted: numbers on what it promises, each defined in docs/explaining.md."""
