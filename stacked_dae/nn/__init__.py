"""Corruption, losses, the denoising autoencoder, the stack, closed-form updates."""
