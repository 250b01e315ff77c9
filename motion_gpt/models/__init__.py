"""The generator's network."""
