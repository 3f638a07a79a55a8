"""Publishes a version of the table `categorized` to PostgreSQL or to files: all rows once, then only changes."""
