"""Thin bridges to frameworks; each needs the extra of its name."""
