"""What runs on the driver and on executors, in rooms: model, tables, progress, scoring and reports."""
