"""What a job reports while it runs."""
