"""Schemes that one provider alone has."""
