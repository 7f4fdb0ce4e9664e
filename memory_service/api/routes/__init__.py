"""One module per topic: read the request, call one service, answer its record."""
