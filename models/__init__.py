"""Model families, one file each: fit, step, save, load. Shared by inference and training."""
