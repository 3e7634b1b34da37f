"""A disc: what fills one, what it says of itself, its image, and whether that can be trusted."""
