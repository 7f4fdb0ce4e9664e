"""How well a namespace recalls and what is made from it. Reads the store, and writes nothing there.

Knows neither HTTP nor which models are active; `page` makes a page of what was measured.
"""
