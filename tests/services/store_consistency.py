"""Asserts that catalog, vectors, traces, indexes and files of a store tell the same."""

from collections import defaultdict

import numpy as np
from stored_contents import files

from memory_service.app import Application


def assert_consistent(app: Application) -> None:
    store = app.store
    memories = store.catalog.list_memories()
    named = store.catalog.select(
        "SELECT blob FROM memories UNION SELECT blob FROM generation_outputs"
    )
    assert store.blobs.digests() == {row["blob"] for row in named}
    assert files(app.settings.data_dir) <= store.blobs.digests()  # nothing unfinished
    expected: dict[tuple[str, str], list[int]] = defaultdict(list)
    stored: dict[tuple[str, str], list[int]] = defaultdict(list)  # without prototypes
    for memory in memories:
        expected[memory.namespace, memory.modality].append(memory.sequence)
        if memory.consolidated_by is not None:
            assert memory not in store.catalog.episode(memory.episode_id).memories
            continue
        stored[memory.namespace, memory.modality].append(memory.sequence)
        assert len(store.blobs.read(memory.blob)) == memory.size_bytes
        assert memory in store.catalog.episode(memory.episode_id).memories
    indexed = {
        (key.namespace, key.modality): index.sequences().tolist()
        for key, index in store.indexes()
        if len(index)
    }
    assert indexed == expected
    space = (app.profile.encoders[0].space_id, app.profile.encoders[0].fingerprint)
    for (namespace, modality), sequences in stored.items():
        vectors = [store.catalog.vector(sequence, space) for sequence in sequences]
        trace = store.catalog.trace(namespace, modality, space)
        np.testing.assert_allclose(trace, np.sum(vectors, axis=0, dtype=float), atol=1e-5)
    counts = {(each.namespace, each.modality): each.count for each in app.memory.stats()}
    assert counts == {key: len(sequences) for key, sequences in stored.items()}
    orphans = store.catalog.select(
        "SELECT 1 FROM vectors WHERE sequence NOT IN (SELECT sequence FROM memories)"
        " UNION ALL SELECT 1 FROM episodes WHERE id NOT IN (SELECT episode_id FROM memories)"
        " UNION ALL SELECT 1 FROM memories WHERE consolidated_by IS NOT NULL"
        " AND (SELECT COUNT(*) FROM lineage WHERE prototype = sequence) < 2"
    )
    assert not orphans
