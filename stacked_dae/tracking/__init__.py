"""Weights & Biases: the window onto a run folder. The only room that imports wandb, and only when it is used."""
