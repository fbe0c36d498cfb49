"""The analytical model: what a mapping of a problem on an architecture costs, and the best mapping."""
