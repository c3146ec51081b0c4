"""The command ``check``: is this model safe on this system, before a week is spent."""
