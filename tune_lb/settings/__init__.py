"""Settings: what a searchable field is, and how a value is named in an identity."""
