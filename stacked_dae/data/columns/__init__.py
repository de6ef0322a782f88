"""The columns of a table: values, kinds, fitting."""
