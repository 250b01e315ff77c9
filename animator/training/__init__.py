"""Training recipes of the animator."""
