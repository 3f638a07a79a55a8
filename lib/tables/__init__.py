"""Spark and Delta: sources read as they are pinned, and tables written in commits. Nothing here knows a model."""
