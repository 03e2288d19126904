"""Whole systems built on jobcast, each in a package of its own with a README."""
