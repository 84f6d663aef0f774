"""Gaps older than the sync: found, asked for, and known once nobody can fill them."""
