"""Models and structures for other engines: one file a format, each checked through its engine's contract."""
