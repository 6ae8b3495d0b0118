"""The Explain tab: attributions, feature maps, filters."""
