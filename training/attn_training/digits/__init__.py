"""Spoken digit strings: an encoder with attention that writes down up to ten digits."""
