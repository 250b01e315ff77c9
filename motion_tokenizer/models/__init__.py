"""The networks of the motion tokenizer."""
