"""Files that ship with the package: the demo model, its structure and its model card."""
