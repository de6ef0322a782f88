"""The study of a search: how trials are drawn, and kept by Optuna and in records."""
