"""Tables as data sets: files, columns, splits, preprocessing."""
