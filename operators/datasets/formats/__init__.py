"""The formats, one in each module: the name of the module, with hyphens, is that of the format."""
