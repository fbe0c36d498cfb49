"""torch -> Graph: capture, stages, symbolic sizes, lowering."""
