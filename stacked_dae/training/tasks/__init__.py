"""Lightning modules that train a layer or a stack that they are given."""
