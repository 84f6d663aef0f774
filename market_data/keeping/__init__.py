"""What keeps a store in good order: alerts, backups, and what is not kept for ever."""
