"""The words both sides use; imports neither of them."""
