"""The command ``parity``: one model file on one structure through everything that is installed."""
