"""Is what is made only a copy? Its nearest memory, by meaning and as media, and its
nearest item of the training, beside how near real things that were held back come to these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.base import Modality, Vectors
from memory_service.services.evaluation.cases import Cases
from memory_service.services.evaluation.lab import Lab
from memory_service.services.evaluation.ladder import COPY, REAL, RECODED, Climb, Rung
from memory_service.services.evaluation.metrics import Floats, is_share, summary
from memory_service.services.evaluation.novelty import COPY_BELOW, SAME, copied, copied_as_media
from memory_service.services.likeness import MEASURES as MEDIA

SHOWN = (
    REAL,
    RECODED,
    COPY,
    Rung("own", 0.0).name,
    Rung("retrieved", 0.0).name,
    Rung("retrieved").name,
    Rung("retrieved", 0.5).name,
    Rung("retrieved", 1.0).name,
    Rung("none", 1.0, 0).name,
)
MEASURES = ("to_memory", "to_shown", "novelty", "media_novelty", "quoted")


def memorisation(lab: Lab, climbs: list[Climb], training: Cases | None) -> list[dict[str, Any]]:
    """`training`: what the models were trained on, as far as it is at hand."""
    found = []
    for climb in climbs:
        known = _known(climb.task.output, training)
        unseen = lab.cases.unseen(climb.queries)
        rows = []
        for name in SHOWN:
            if name not in climb.made:
                continue
            made = climb.made[name]
            row: dict[str, Any] = {"what": name}
            for measure in MEASURES:
                if measure in made.measures:
                    row[measure] = summary(made.measures[measure], unseen, share=is_share(measure))
            if "novelty" in made.measures:
                row |= _copies(climb.task.output, made.measures, unseen)
            if known is not None:
                row |= _to_training(lab, climb, made.vectors, known, training)
            rows.append(row)
        found.append(
            {
                "task": climb.task.name,
                "queries": len(climb.queries),
                "training_items": 0 if known is None else len(known),
                "copy_is": SAME,
                "copy_below": COPY_BELOW[climb.task.output],
                "media_measure": MEDIA[climb.task.output],
                "rows": rows,
            }
        )
    return found


def _copies(
    output: Modality, measures: Mapping[str, Floats], unseen: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """The share of copies by the cosine, as media, and by either."""
    return {
        "copies_of_memory": summary(copied(measures["novelty"]), unseen, share=True),
        "copies_as_media": summary(
            copied_as_media(output, measures["media_novelty"]), unseen, share=True
        ),
        "copies": summary(1 - measures["novel"], unseen, share=True),
    }


def _known(modality: Modality, training: Cases | None) -> Vectors | None:
    if training is None:
        return None
    places = training.having(modality)
    return training.vectors(modality, places) if len(places) else None


def _to_training(
    lab: Lab, climb: Climb, vectors: Vectors, known: Vectors, training: Cases | None
) -> dict[str, Any]:
    """The query's own item may be one of the training: it is passed over, as is its group."""
    assert training is not None
    places = training.having(climb.task.output)
    groups = np.array([training.all[place].group for place in places])
    near, unseen = [], []
    for place, vector in zip(climb.queries.tolist(), vectors, strict=True):
        others = groups != lab.cases.all[place].group
        if others.any():
            near.append(float((known[others] @ vector).max()))
            unseen.append(lab.cases.all[place].unseen is True)
    if not near:
        return {}
    cosines, masks = np.array(near), np.array(unseen)
    return {
        "to_training": summary(cosines, masks),
        "copies_of_training": summary(cosines > SAME, masks, share=True),
    }
