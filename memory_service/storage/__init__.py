"""Where memories live: catalog (SQLite), vectors (FAISS), blobs (files). Knows no encoder."""
