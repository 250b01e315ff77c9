"""Other projects' checkpoints -> this project's folders, and back."""
