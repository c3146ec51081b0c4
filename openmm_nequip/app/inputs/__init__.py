"""Set-ups of other engines, read into settings of a run."""
