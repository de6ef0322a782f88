"""Pictures of runs, models and data, in one style."""
