"""Architecture files, one machine each; data only."""
