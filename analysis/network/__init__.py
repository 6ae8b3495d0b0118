"""What a network is and says without any shift: layers, geometry, costs, health, predictions."""
