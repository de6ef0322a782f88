"""What a person sees while a job runs, and text as a terminal can show it."""
