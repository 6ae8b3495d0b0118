"""What was made of pictures before networks learned it: features by hand, and simple classifiers of them."""
