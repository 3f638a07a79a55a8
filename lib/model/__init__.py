"""A text to probabilities. Nothing here knows Spark."""
