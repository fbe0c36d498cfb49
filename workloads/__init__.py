"""The nine multi-modal networks of MMBench as plain PyTorch."""
