"""Training of layers and stacks on Lightning."""
