"""The tokenizer's training recipe."""
