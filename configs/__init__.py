"""Hydra configuration groups of the suite, as YAML; `animator.config` holds their types and their documentation."""
