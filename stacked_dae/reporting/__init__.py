"""Figures, tables in the terminal, comparisons of runs."""
