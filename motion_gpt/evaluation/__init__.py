"""How good generated motion is, beside real motion and simple ways to go on."""
