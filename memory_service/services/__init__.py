"""What the product does. Knows storage, encoders and generators by protocol; no HTTP, no CLI."""
