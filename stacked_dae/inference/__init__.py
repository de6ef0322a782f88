"""Trained models: loading, predictions, export."""
