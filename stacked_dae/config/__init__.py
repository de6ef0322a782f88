"""The settings of an experiment: their types, checks, files and identity."""
