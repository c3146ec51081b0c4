"""What a model sees: positions, types, edges and cell, and the lists and rules that make them."""
