"""What runs on the driver and on executors, in three rooms: model, tables and scoring."""
