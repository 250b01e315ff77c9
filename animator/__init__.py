"""X-NeMo: a driving video animates a portrait through motion latents."""
