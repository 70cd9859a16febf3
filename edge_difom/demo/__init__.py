"""`edge-difom demo`: the whole path on the built-in phantom."""
