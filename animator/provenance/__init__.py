"""Marks of synthetic media: what they say, how they are put into a video, and how they are found again."""
