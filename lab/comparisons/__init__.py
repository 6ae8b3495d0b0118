"""Networks trained alike but for one thing, and what can be said of the difference; repairs are such."""
