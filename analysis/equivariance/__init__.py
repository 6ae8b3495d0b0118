"""Whether feature maps move along with the picture: the layer meter and its causes. Nothing about answers."""
