"""(Problem, Arch, objective) -> Solution: the built-in model, the real Timeloop, AccelForge."""
