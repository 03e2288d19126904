"""The jobcast command."""
