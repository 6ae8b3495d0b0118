"""From files to tensors: pictures, data sets, samples, labels. Nothing of networks or training."""
