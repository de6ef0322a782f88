"""Weights & Biases: the only package that imports wandb, and only when it is used."""
