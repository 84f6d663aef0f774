"""The validation report: what the store holds of a span, how good it is, and where to look."""
