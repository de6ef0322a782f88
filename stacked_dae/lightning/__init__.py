"""Lightning modules and data modules for the user's own Trainer."""
