"""The providers that are known, one row each, by what they are for."""
