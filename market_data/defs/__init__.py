"""The Dagster layer. It and definitions.py are the only places that know Dagster."""
