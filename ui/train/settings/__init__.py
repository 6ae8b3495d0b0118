"""The form of a training: data, augmentation, network, learning rate. Nothing about runs that exist."""
