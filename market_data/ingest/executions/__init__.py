"""Executions reported back: files, lines, corrections, and the drop folder."""
