"""Polling the session under way: one poll at a time, each kept in a pack before it is read."""
