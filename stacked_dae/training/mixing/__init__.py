"""A classifier that mixes softmax heads on inputs and codes by their likelihood on held-out labels."""
