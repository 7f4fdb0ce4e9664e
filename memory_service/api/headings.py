"""What each operation is called in the OpenAPI document, and under which heading: the one table."""

from __future__ import annotations

from typing import Any

TAGS = {
    "store": "Put pictures, texts, sounds and series into the memory.",
    "recall": "Find what is like something, or its vectors.",
    "generate": "Make new media from what is remembered, and see what they were made from.",
    "memories": "Look at single memories and episodes, and change them.",
    "forget": "Delete for good, with a receipt.",
    "namespaces": "Which there are, and how fast their memories fade.",
    "upkeep": "Expiry, near-duplicates, backups, other encoders.",
    "evaluation": "Measure recall and generation on what is stored.",
    "jobs": "Work that goes on after its request was answered.",
    "keys": "API keys, and who changed what.",
    "service": "Whether it is well, what it has loaded, how much it holds.",
}

HEADINGS: dict[str, tuple[str, str]] = {
    "POST /store": ("store", "Store an episode"),
    "POST /store/batch": ("store", "Store many episodes, one per line"),
    "POST /retrieve": ("recall", "Recall by text, picture, sound, series or vector"),
    "POST /embed": ("recall", "Get the vectors of media, without storing them"),
    "POST /generate": ("generate", "Generate a picture, text or sound"),
    "GET /generations": ("generate", "List generations, the newest first"),
    "GET /generations/{generation_id}": ("generate", "Get the record of a generation"),
    "GET /generations/{generation_id}/content": ("generate", "Get generated media"),
    "GET /generations/{generation_id}/card": ("generate", "See a generation on one page"),
    "POST /generations/{generation_id}/replay": ("generate", "Make it again, and compare"),
    "POST /generations/{generation_id}/explain": ("generate", "Measure what each memory did"),
    "GET /memories": ("memories", "List memories"),
    "GET /memories/{memory_id}": ("memories", "Get a memory, its strength and its lineage"),
    "PATCH /memories/{memory_id}": ("memories", "Change metadata or expiry"),
    "GET /memories/{memory_id}/content": ("memories", "Get the original bytes, or a part"),
    "GET /memories/{memory_id}/thumbnail": ("memories", "Get a small picture of a memory"),
    "GET /episodes/{episode_id}": ("memories", "Get an episode and its memories"),
    "DELETE /memories": ("forget", "Forget what a filter matches"),
    "DELETE /memories/{memory_id}": ("forget", "Forget a memory"),
    "DELETE /episodes/{episode_id}": ("forget", "Forget an episode"),
    "DELETE /generations/{generation_id}": ("forget", "Forget a generation"),
    "DELETE /namespaces/{namespace}": ("forget", "Forget a whole namespace"),
    "GET /receipts": ("forget", "List receipts"),
    "GET /receipts/{receipt_id}": ("forget", "Get the receipt of a deletion"),
    "GET /namespaces": ("namespaces", "List namespaces, and how much each holds"),
    "GET /namespaces/{namespace}": ("namespaces", "See how much a namespace holds"),
    "GET /namespaces/{namespace}/settings": ("namespaces", "See how fast memories fade"),
    "PUT /namespaces/{namespace}/settings": ("namespaces", "Set how fast memories fade"),
    "POST /sweep": ("upkeep", "Delete now what has expired"),
    "POST /consolidate": ("upkeep", "Let prototypes stand for near-duplicates"),
    "POST /consolidate/{name}/undo": ("upkeep", "Take prototypes apart again"),
    "POST /backup": ("upkeep", "Make a backup"),
    "POST /reembed": ("upkeep", "Make all vectors anew with other encoders"),
    "GET /reembed": ("upkeep", "See the spaces that memories have vectors in"),
    "DELETE /reembed/{role}": ("upkeep", "Delete vectors that are not searched"),
    "POST /evaluate": ("evaluation", "Measure recall and generation"),
    "GET /evaluate/{job_id}/report": ("evaluation", "See the page of an evaluation"),
    "GET /jobs": ("jobs", "List jobs, the newest first"),
    "GET /jobs/{job_id}": ("jobs", "See how far a job is"),
    "DELETE /jobs/{job_id}": ("jobs", "Ask a job to stop"),
    "POST /keys": ("keys", "Make an API key"),
    "GET /keys": ("keys", "List API keys"),
    "DELETE /keys/{key_id}": ("keys", "Revoke an API key"),
    "GET /audit": ("keys", "See who changed what"),
    "GET /models": ("service", "See models, spaces, accepted media and limits"),
    "GET /stats": ("service", "See how much each sub-memory holds"),
    "GET /livez": ("service", "Ask whether the process answers"),
    "GET /readyz": ("service", "Ask whether it can be used"),
    "GET /metrics": ("service", "Get metrics for Prometheus"),
}


def declare(document: dict[str, Any]) -> None:
    """Put them into an OpenAPI document. Raises KeyError for an operation that has none."""
    document["tags"] = [{"name": name, "description": says} for name, says in TAGS.items()]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag, operation["summary"] = HEADINGS[f"{method.upper()} {path}"]
            operation["tags"] = [tag]
