"""What in a picture speaks for a class: methods, and how their maps are drawn. No charts."""
