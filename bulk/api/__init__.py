"""Bulk jobs over HTTP."""
