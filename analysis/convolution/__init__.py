"""The convolution itself: what it computes, its kernels and poolings, stacks of layers, and questions about them."""
