"""What runs on the driver and on executors: text, bundle, engines, scoring, tables."""
