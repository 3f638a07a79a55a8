"""Pages for people: what a run did, and why it was held back."""
