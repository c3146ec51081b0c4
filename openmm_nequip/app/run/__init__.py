"""Molecular dynamics from the command line: settings, steps, the files of a run, and what comes of it."""
