"""Import this before `open_clip`, `timm` or `transformers`: torchvision beside a CPU-only torch.

The torchvision of the package index expects a torch built with CUDA; beside a CPU-only torch its
import fails with "operator torchvision::nms does not exist", because it registers shape functions
for two operators that its binary did not bring. Declaring the two is enough; nothing calls them.
"""

from __future__ import annotations

import torch

# Kept for the life of the process: the declarations vanish with the library object.
_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]

for _name, _schema in (
    ("nms", "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"),
    ("qnms", "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"),
):
    try:
        torch._C._dispatch_find_schema_or_throw(f"torchvision::{_name}", "")
    except RuntimeError:
        _LIBRARY.define(_schema)  # type: ignore[no-untyped-call]
