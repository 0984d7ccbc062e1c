"""Measurements of Flambeau beside its peers and beside the bare handler: see ``make bench``."""
