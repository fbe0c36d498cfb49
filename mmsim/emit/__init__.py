"""Values of mmsim -> foreign formats; each format is spelled in one file and nowhere else."""
