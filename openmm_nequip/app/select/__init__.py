"""The command ``select``: frames of trajectories that are worth a label."""
