"""Tests of the page and of the pure modules under it."""
