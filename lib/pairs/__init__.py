"""The pairs of Spark and Delta that the jobs run on, and what differs between them: no other code asks for a version."""
