"""The traced graph timed on a real device."""
