"""Small networks and what they leave."""

from models.data.shapes import ShapesConfig

DRAWN = ShapesConfig(num_images=60, clutter=0.0)
