"""What a user can do, one function each, for page, API and command line alike. No HTML, no printing."""
