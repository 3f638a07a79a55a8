"""One run, from a pinned source and a verified bundle to one published commit."""
