"""The command ``pmf``: free energy along a coordinate from biased runs."""
