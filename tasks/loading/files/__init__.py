"""Readers of images, tables and listings, each with errors that name the file."""
