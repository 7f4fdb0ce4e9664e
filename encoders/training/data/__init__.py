"""The training collection: where its items come from, and how they are read back.

Knows nothing about models; imports no torch.
"""

from encoders.training.data.records import Item, concept_of, load_collection, split_of

__all__ = ["Item", "concept_of", "load_collection", "split_of"]
