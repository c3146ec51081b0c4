"""Structure files: reading them, their boxes, and which of their atoms are bonded."""
