"""Helpers that know nothing of the method: seeds, processes, signals, files."""
