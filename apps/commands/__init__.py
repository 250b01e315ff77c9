"""The verbs of the `xnemo` command, one file each."""
