"""Metrics of the animator, with their exact inputs in the docstrings."""
