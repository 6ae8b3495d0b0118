"""What keeps the page safe behind a public link: who may ask, by which name, how long, and what is kept."""
