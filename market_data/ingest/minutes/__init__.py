"""Minutes of past sessions: what vendors still serve, and the bulk archive's files."""
