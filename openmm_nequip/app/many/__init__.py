"""The command ``many``: a table of runs on a pool of workers."""
