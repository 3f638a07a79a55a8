"""What a job says while it is at work."""
