"""The code that runs on the driver and on executors, in subpackages: model, tables, progress, scoring, reports and others."""
