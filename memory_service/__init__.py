"""Multimodal memory: store, recall and generate pictures, texts and sounds."""
