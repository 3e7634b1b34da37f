"""What a customer has on the shelves, and what is done with it."""
