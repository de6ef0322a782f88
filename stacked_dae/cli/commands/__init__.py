"""The commands of the command line, one subject per module."""
