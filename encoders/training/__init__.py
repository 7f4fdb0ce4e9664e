"""Training and evaluation of the bundled encoders. Models never import this package."""
