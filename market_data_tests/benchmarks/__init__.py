"""Benchmarks: the main job beside a plain DuckDB bulk load of the same files. Run them by `make bench`."""
