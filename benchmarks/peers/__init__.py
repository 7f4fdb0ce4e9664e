"""The service beside a peer (a chroma server) and a limit (raw FAISS), all in one run."""
