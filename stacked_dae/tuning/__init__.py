"""Searches and sweeps over configurations."""
