"""Values -> tables, figures, pages; computes nothing."""
