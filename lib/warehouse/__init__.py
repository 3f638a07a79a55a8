"""A version of the table `categorized` into PostgreSQL or into files: all rows once, then what changed."""
