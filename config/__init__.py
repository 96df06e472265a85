"""What a user edits, and the loader that turns it into typed settings."""
