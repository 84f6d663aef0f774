"""Features of daily prices, made from the canonical database and nothing else."""
