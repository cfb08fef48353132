"""Annotated objects of images in tables, validated alike for every format."""
