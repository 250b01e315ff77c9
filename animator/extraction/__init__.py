"""Many videos -> one motion dataset: which clips, reading them in workers, encoding, on one machine or with Ray."""
