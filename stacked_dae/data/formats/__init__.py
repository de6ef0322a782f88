"""The formats of files that hold a table."""
