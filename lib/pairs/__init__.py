"""The pairs of Spark and Delta that the jobs run on, and what differs between them: nobody else asks for a version."""
