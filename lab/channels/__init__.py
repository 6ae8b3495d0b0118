"""What single channels of a model respond to: over data sets, when they are taken away, in pictures made for them."""
