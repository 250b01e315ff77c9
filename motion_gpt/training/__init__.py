"""The generator's training recipe."""
