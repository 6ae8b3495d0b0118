"""Charts and small pictures for people. Nothing is measured here."""
