"""The catalog's tables, as numbered migrations, and its views. `PRAGMA user_version` is the number
reached."""

from __future__ import annotations

import sqlite3

from memory_service.errors import StorageFailure

MIGRATIONS = [
    # 1: the first version
    """
    CREATE TABLE episodes (
        id TEXT PRIMARY KEY,
        namespace TEXT NOT NULL,
        created_at REAL NOT NULL,
        contents TEXT NOT NULL -- hash over the sorted content hashes: finds duplicates
    ) WITHOUT ROWID;
    CREATE INDEX episodes_by_contents ON episodes (namespace, contents);

    CREATE TABLE memories (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        namespace TEXT NOT NULL,
        episode_id TEXT NOT NULL REFERENCES episodes (id),
        modality TEXT NOT NULL,
        media_type TEXT NOT NULL,
        blob TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        metadata TEXT NOT NULL,
        text TEXT,
        created_at REAL NOT NULL
    );
    CREATE INDEX memories_by_kind ON memories (namespace, modality, sequence);
    CREATE INDEX memories_by_episode ON memories (episode_id);
    CREATE INDEX memories_by_blob ON memories (blob);

    CREATE TABLE spaces (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        dimension INTEGER NOT NULL,
        UNIQUE (id, fingerprint)
    );
    CREATE TABLE vectors (
        sequence INTEGER NOT NULL REFERENCES memories (sequence) ON DELETE CASCADE,
        space INTEGER NOT NULL REFERENCES spaces (number),
        vector BLOB NOT NULL, -- float32, little endian, unit length
        PRIMARY KEY (sequence, space)
    ) WITHOUT ROWID;

    CREATE TABLE traces (
        namespace TEXT NOT NULL,
        modality TEXT NOT NULL,
        space INTEGER NOT NULL REFERENCES spaces (number),
        vector BLOB NOT NULL, -- float64: sums of float32 vectors can be taken back
        count INTEGER NOT NULL,
        PRIMARY KEY (namespace, modality, space)
    ) WITHOUT ROWID;

    CREATE TABLE generations (
        id TEXT PRIMARY KEY,
        namespace TEXT NOT NULL,
        created_at REAL NOT NULL,
        seed INTEGER NOT NULL,
        creativity REAL NOT NULL,
        fusion TEXT NOT NULL,
        space_id TEXT NOT NULL,
        space_fingerprint TEXT NOT NULL,
        query_vector BLOB NOT NULL,
        timings TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE generation_memories (
        generation_id TEXT NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        memory_id TEXT NOT NULL, -- may be gone by now: no foreign key
        episode_id TEXT NOT NULL,
        modality TEXT NOT NULL,
        weight REAL NOT NULL,
        cosine REAL NOT NULL,
        PRIMARY KEY (generation_id, position)
    ) WITHOUT ROWID;
    CREATE TABLE generation_outputs (
        id TEXT PRIMARY KEY,
        generation_id TEXT NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        modality TEXT NOT NULL,
        media_type TEXT NOT NULL,
        blob TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        text TEXT,
        generator TEXT NOT NULL,
        generator_fingerprint TEXT NOT NULL,
        novelty REAL,
        nearest_memory_id TEXT,
        details TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX outputs_by_generation ON generation_outputs (generation_id, position);
    CREATE INDEX outputs_by_blob ON generation_outputs (blob);
    """,
    # 2: several vectors of one memory in one space, each of a part of it
    """
    ALTER TABLE vectors RENAME TO vectors_1;
    CREATE TABLE vectors (
        sequence INTEGER NOT NULL REFERENCES memories (sequence) ON DELETE CASCADE,
        space INTEGER NOT NULL REFERENCES spaces (number),
        segment INTEGER NOT NULL DEFAULT 0, -- 0, 1, 2 ... within memory and space
        start_s REAL, -- of the part; NULL: the vector is of the whole
        end_s REAL,
        vector BLOB NOT NULL, -- float32, little endian, unit length
        PRIMARY KEY (sequence, space, segment)
    ) WITHOUT ROWID;
    INSERT INTO vectors (sequence, space, vector) SELECT sequence, space, vector FROM vectors_1;
    DROP TABLE vectors_1;
    """,
    # 3: spaces beside those that are searched, and jobs
    """
    CREATE TABLE standby_spaces ( -- what is not named here is searched
        modality TEXT NOT NULL,
        space INTEGER NOT NULL REFERENCES spaces (number),
        role TEXT NOT NULL CHECK (role IN ('new', 'old')), -- being filled, or from before a switch
        PRIMARY KEY (modality, space)
    ) WITHOUT ROWID;
    CREATE VIEW traces_by_role AS -- role NULL: searched
        SELECT t.*, b.role FROM traces t LEFT JOIN standby_spaces b USING (modality, space);
    CREATE TABLE embedding_failures ( -- of the last re-embedding
        sequence INTEGER PRIMARY KEY REFERENCES memories (sequence) ON DELETE CASCADE,
        code TEXT NOT NULL,
        reason TEXT NOT NULL
    );
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL,
        finished_at REAL,
        parameters TEXT NOT NULL, -- this and the following: JSON objects
        progress TEXT NOT NULL,
        result TEXT,
        error TEXT
    ) WITHOUT ROWID;
    """,
    # 4: which part of a long sound a generation was made from
    """
    ALTER TABLE generation_memories ADD COLUMN start_s REAL; -- NULL: the whole, or made before
    ALTER TABLE generation_memories ADD COLUMN end_s REAL;
    """,
    # 5: how memories live: expiry, recalls, prototypes, settings of a namespace
    """
    ALTER TABLE memories ADD COLUMN expires_at REAL; -- Unix seconds; NULL: never
    ALTER TABLE memories ADD COLUMN consolidated_by TEXT; -- of a prototype: the job that made it
    CREATE INDEX memories_by_expiry ON memories (expires_at) WHERE expires_at IS NOT NULL;
    CREATE INDEX prototypes ON memories (consolidated_by) WHERE consolidated_by IS NOT NULL;
    CREATE TABLE recalls ( -- of memories that were recalled at all
        sequence INTEGER PRIMARY KEY REFERENCES memories (sequence) ON DELETE CASCADE,
        base REAL NOT NULL, -- strength right after the last recall
        since REAL NOT NULL, -- when that was, Unix seconds
        recalls INTEGER NOT NULL,
        recalled_at REAL
    );
    CREATE TABLE lineage ( -- a member is not ranked while its prototype is
        member INTEGER PRIMARY KEY REFERENCES memories (sequence) ON DELETE CASCADE,
        prototype INTEGER NOT NULL REFERENCES memories (sequence) ON DELETE CASCADE,
        cosine REAL NOT NULL, -- of the member and the prototype
        consolidated_at REAL NOT NULL,
        medoid INTEGER NOT NULL -- 1: the prototype has the content of this one
    );
    CREATE INDEX lineage_by_prototype ON lineage (prototype);
    CREATE TABLE namespaces ( -- of which settings were changed
        name TEXT PRIMARY KEY,
        settings TEXT NOT NULL -- JSON object of what was set
    ) WITHOUT ROWID;
    ALTER TABLE traces ADD COLUMN half_life_s REAL; -- NULL: the sum does not decay
    -- The sum is kept as it was at this time: see storage.traces.
    ALTER TABLE traces ADD COLUMN reference REAL NOT NULL DEFAULT 0;
    DROP VIEW traces_by_role; -- it lists the columns that there were
    CREATE VIEW traces_by_role AS -- role NULL: searched
        SELECT t.*, b.role FROM traces t LEFT JOIN standby_spaces b USING (modality, space);
    """,
    # 6: what was asked of a generation, how new it is, and what each memory did
    """
    ALTER TABLE generations ADD COLUMN query TEXT NOT NULL DEFAULT '[]'; -- JSON: parts
    ALTER TABLE generations ADD COLUMN modes TEXT NOT NULL DEFAULT '{}'; -- JSON, by modality
    ALTER TABLE generations ADD COLUMN agreement TEXT NOT NULL DEFAULT '{}'; -- JSON, by pair
    ALTER TABLE generation_outputs ADD COLUMN seed INTEGER; -- NULL: the generation's
    ALTER TABLE generation_outputs ADD COLUMN draws TEXT NOT NULL DEFAULT '[]'; -- JSON
    ALTER TABLE generation_outputs ADD COLUMN media_novelty TEXT; -- JSON
    ALTER TABLE generation_outputs ADD COLUMN vector BLOB; -- float32; NULL: not measured
    ALTER TABLE generation_outputs ADD COLUMN media_sha256 TEXT; -- NULL: the file has no manifest
    CREATE TABLE generation_effects (
        generation_id TEXT NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
        modality TEXT NOT NULL, -- of the output
        position INTEGER NOT NULL, -- of the memory left out; -1: all of them
        effect REAL NOT NULL,
        PRIMARY KEY (generation_id, modality, position)
    ) WITHOUT ROWID;
    """,
    # 7: small contents beside the rows that name them, gone with the last of these
    """
    CREATE TABLE small_contents (
        digest TEXT PRIMARY KEY, -- SHA-256, hex: memories.blob, generation_outputs.blob
        content BLOB NOT NULL
    );
    CREATE TRIGGER memory_content AFTER DELETE ON memories BEGIN
        DELETE FROM small_contents WHERE digest = OLD.blob
            AND NOT EXISTS (SELECT 1 FROM memories WHERE blob = OLD.blob)
            AND NOT EXISTS (SELECT 1 FROM generation_outputs WHERE blob = OLD.blob);
    END;
    CREATE TRIGGER output_content AFTER DELETE ON generation_outputs BEGIN
        DELETE FROM small_contents WHERE digest = OLD.blob
            AND NOT EXISTS (SELECT 1 FROM memories WHERE blob = OLD.blob)
            AND NOT EXISTS (SELECT 1 FROM generation_outputs WHERE blob = OLD.blob);
    END;
    """,
    # 8: forgetting: receipts, and contents whose files are still to be removed
    """
    CREATE TABLE receipts (
        id TEXT PRIMARY KEY,
        created_at REAL NOT NULL,
        what TEXT NOT NULL,
        namespace TEXT NOT NULL,
        complete INTEGER NOT NULL, -- 0: interrupted, or going on
        facts TEXT NOT NULL -- JSON object
    ) WITHOUT ROWID;
    CREATE TABLE receipt_memories ( -- written in the transaction that deletes them
        receipt_id TEXT NOT NULL REFERENCES receipts (id) ON DELETE CASCADE,
        memory_id TEXT NOT NULL,
        blob TEXT NOT NULL,
        PRIMARY KEY (receipt_id, memory_id)
    ) WITHOUT ROWID;
    CREATE TABLE leaving ( -- no row names these any more, by a deletion and not by a crash
        blob TEXT PRIMARY KEY
    ) WITHOUT ROWID;
    CREATE INDEX generation_memories_by_memory ON generation_memories (memory_id);
    """,
    # 9: vectors in a table with row numbers, where pages hold twice as many of 384 dimensions, and
    # their keys in an index that can be read without them
    """
    ALTER TABLE vectors RENAME TO vectors_8;
    CREATE TABLE vectors (
        sequence INTEGER NOT NULL REFERENCES memories (sequence) ON DELETE CASCADE,
        space INTEGER NOT NULL REFERENCES spaces (number),
        segment INTEGER NOT NULL DEFAULT 0, -- 0, 1, 2 ... within memory and space
        start_s REAL, -- of the part; NULL: the vector is of the whole
        end_s REAL,
        vector BLOB NOT NULL, -- float32, little endian, unit length
        UNIQUE (sequence, space, segment)
    );
    INSERT INTO vectors (sequence, space, segment, start_s, end_s, vector)
        SELECT sequence, space, segment, start_s, end_s, vector FROM vectors_8;
    DROP TABLE vectors_8;
    CREATE TABLE openings ( -- of the store: what snapshots of indexes are recognised by
        number INTEGER PRIMARY KEY,
        token TEXT NOT NULL UNIQUE,
        last_sequence INTEGER NOT NULL -- that a memory had been given before
    );
    """,
    # 10: memories of a stretch of time
    """
    CREATE INDEX memories_by_time ON memories (namespace, modality, created_at);
    """,
    # 11: keys of requests that are done once
    """
    CREATE TABLE idempotency_keys (
        namespace TEXT NOT NULL,
        key TEXT NOT NULL,
        request TEXT NOT NULL, -- SHA-256 of what was asked, hex
        result TEXT NOT NULL, -- id of the episode or generation; it may be gone
        duplicate INTEGER NOT NULL,
        expires_at REAL NOT NULL, -- Unix seconds
        PRIMARY KEY (namespace, key)
    ) WITHOUT ROWID;
    CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);
    """,
    # 12: with which weights query and memories were joined
    """
    ALTER TABLE generations ADD COLUMN fusion_fingerprint TEXT; -- NULL: a formula
    """,
    # 13: episodes of the same contents are found by a content: hashes come in no order, so that an
    # index of them is written all over
    """
    DROP INDEX episodes_by_contents;
    """,
    # 14: lists of a receipt in parts, one of each transaction
    """
    CREATE TABLE receipt_parts (
        number INTEGER PRIMARY KEY, -- in the order of writing
        receipt_id TEXT NOT NULL REFERENCES receipts (id) ON DELETE CASCADE,
        lists TEXT NOT NULL -- JSON object: ids and hashes, by list
    );
    CREATE INDEX receipt_parts_by_receipt ON receipt_parts (receipt_id);
    INSERT INTO receipt_parts (receipt_id, lists) SELECT id, json_patch(
        json_object(
            'memory_ids', (SELECT json_group_array(memory_id) FROM receipt_memories
                WHERE receipt_id = id),
            'contents', (SELECT json_group_array(DISTINCT blob) FROM receipt_memories
                WHERE receipt_id = id)
        ),
        CASE WHEN json_valid(facts) THEN json_remove(
            facts, '$.removed', '$.clean', '$.probe', iif(complete, '$.removed', '$.contents')
        ) ELSE '{}' END
    ) FROM receipts;
    UPDATE receipts SET facts = json_remove(facts, '$.episode_ids', '$.contents',
        '$.blobs_removed', '$.generations_marked', '$.generations_erased')
        WHERE json_valid(facts);
    DROP TABLE receipt_memories;
    """,
    # 15: what else was asked of a generation
    """
    ALTER TABLE generations ADD COLUMN options TEXT; -- JSON; NULL: it was not kept
    """,
]

# What answers are made of. `alive`: not expired. `ranked`: besides, no member of a prototype that
# is alive. Tables as such are for the upkeep, which has to see everything. Of each connection, so
# that the file can be opened without our function.
VIEWS = """
    CREATE TEMP VIEW alive AS
        SELECT * FROM main.memories WHERE expires_at IS NULL OR expires_at > now();
    CREATE TEMP VIEW ranked AS
        SELECT * FROM alive m WHERE NOT EXISTS (
            SELECT 1 FROM main.lineage l JOIN alive p ON p.sequence = l.prototype
            WHERE l.member = m.sequence
        );
"""

FORMAT = len(MIGRATIONS)  # of a store that this version writes


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up to date, each migration in a transaction of its own."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > FORMAT:
        raise StorageFailure(
            f"the store has format {version}, this version knows up to {FORMAT}: "
            "open it with a newer version",
        )
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {statements}; PRAGMA user_version = {number}; COMMIT;"
        )
