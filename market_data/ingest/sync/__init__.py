"""The nightly sync: what is due, the steps, and what changed since the last one."""
