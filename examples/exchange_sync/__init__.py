"""Keeps the orders, balances and prices of many users on several exchanges in a database; see README.md."""
