"""One thin file per job: parse, extract, transform, load."""
