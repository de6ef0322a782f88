"""How well a model does on labelled rows: class by class, or in numbers."""
