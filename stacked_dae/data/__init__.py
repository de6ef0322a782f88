"""Data sets as NumPy arrays, and where they come from."""
