"""Take `openvino` from here: without its telemetry.

`import openvino` by itself writes an identifier into the home folder and reports the import to an
analytics service, unless the user has declined or the package `openvino_telemetry` is missing. A
memory reports to nobody: the package counts as missing in this process, and OpenVINO works
without it.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402

__all__ = ["openvino"]
