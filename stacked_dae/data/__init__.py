"""Data sets: built-in ones, tables, arrays, and arrays that stay on disk."""
