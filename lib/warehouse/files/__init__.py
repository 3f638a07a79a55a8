"""A version of the table `categorized` as Parquet files with a manifest, for warehouses that load files."""
