"""Corruption, losses, the denoising autoencoder, the stack, and their closed-form updates."""
