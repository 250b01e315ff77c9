"""Motion tokens: a VQ-VAE that turns a MotionClip into a sequence of codes, one for every four frames, and back."""
