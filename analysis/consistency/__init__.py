"""Whether the answer stays under shifts: protocols, votes, statistics. Nothing about feature maps."""
