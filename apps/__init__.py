"""Programs for people: the `xnemo` command and the viewer. Library users need nothing from here."""
