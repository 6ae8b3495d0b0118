"""What single channels of a layer respond to: strongest cells, filters, ablation, pictures made for them."""
