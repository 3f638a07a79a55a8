"""A version of the table `categorized` into PostgreSQL: all rows once, then what changed, each in one transaction."""
