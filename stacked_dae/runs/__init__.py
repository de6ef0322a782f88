"""Run folders: what they hold, their fingerprints, and what is left to do in them."""
