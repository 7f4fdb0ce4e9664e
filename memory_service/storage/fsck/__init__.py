"""Compares what a data folder holds in several places, and repairs what loses nothing.

Each check looks at one kind of thing and yields findings; knows no encoder, and no running service.
"""
