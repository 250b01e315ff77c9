"""How good tokens are: reconstruction, use of the codebook, baselines, and the difference in pixels."""
