"""Tests of the words both sides use."""
