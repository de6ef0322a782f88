"""The greedy workflow on a run folder: pre-train, fine-tune, test."""
