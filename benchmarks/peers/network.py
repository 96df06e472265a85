"""The network in onnxruntime, as one would export it. Runs in `.venv-peers`.

    python benchmarks/peers/network.py

It computes the whole network over the window that an output is made of. Says that it is ready, then
obeys lines `run FILE`, an archive of `mean`, `scale`, `kernel_N`, `bias_N`, `dilations`, `head`,
`head_bias` and `rows` (cuts, instruments, columns): the rows cut by cut, each timed from its bare
numbers to its five outputs, standardisation and windows in numpy. One thread. Answers with the
times in microseconds, and with what was said of the last cut.
"""

import json
import sys
import time
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

CLIP = 5.0
SPREAD_BOUND = 5.0


def exported(archive: Any) -> bytes:
    """The network as a model file: (rows, columns, window) to (rows, 5, 1)."""
    nodes, held, name = [], [], "x"
    layers = [(f"kernel_{n}", f"bias_{n}", int(d)) for n, d in enumerate(archive["dilations"])]
    for number, (kernel, bias, dilation) in enumerate([*layers, ("head", "head_bias", 1)]):
        taps = archive[kernel]
        width = 3 if kernel != "head" else 1
        # (taps * inputs, outputs), the oldest row first, to (outputs, inputs, taps).
        array = taps.reshape(width, -1, taps.shape[1]).transpose(2, 1, 0)
        held += [
            numpy_helper.from_array(np.ascontiguousarray(array), f"k{number}"),
            numpy_helper.from_array(archive[bias], f"b{number}"),
        ]
        nodes.append(
            helper.make_node(
                "Conv", [name, f"k{number}", f"b{number}"], [f"c{number}"], dilations=[dilation]
            )
        )
        name = f"c{number}"
        if kernel != "head":
            nodes.append(helper.make_node("Relu", [name], [f"r{number}"]))
            name = f"r{number}"
    columns = len(archive["mean"])
    graph = helper.make_graph(
        nodes, "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", columns, None])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 5, None])],
        held,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    content: bytes = model.SerializeToString()
    return content


def run(path: str) -> dict[str, Any]:
    """Times of all cuts, and what was said of the last."""
    archive = np.load(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(exported(archive), options)
    rows, mean, scale = archive["rows"], archive["mean"], archive["scale"]
    deep = 1 + 2 * int(archive["dilations"].sum())
    windows = np.zeros((rows.shape[1], rows.shape[2], deep), np.float32)
    said = np.empty((rows.shape[1], 5), np.float32)
    taken = []
    for cut in rows:
        began_ns = time.perf_counter_ns()
        windows[:, :, :-1] = windows[:, :, 1:]
        windows[:, :, -1] = np.clip((cut - mean) * scale, -CLIP, CLIP)
        raw = session.run(None, {"x": windows})[0][:, :, 0]
        chances = np.exp(raw[:, :3] - raw[:, :3].max(axis=1, keepdims=True))
        said[:, :3] = chances / chances.sum(axis=1, keepdims=True)
        said[:, 3] = raw[:, 3]
        said[:, 4] = np.exp(SPREAD_BOUND * np.tanh(raw[:, 4] / SPREAD_BOUND))
        taken.append((time.perf_counter_ns() - began_ns) / 1e3)
    return {"taken_us": taken, "said": said.tolist()}


def main() -> None:
    """Obey lines until there are none."""
    print(json.dumps({"ready": onnxruntime.__version__}), flush=True)
    for line in sys.stdin:
        _, path = line.split(maxsplit=1)
        print(json.dumps(run(path.strip())), flush=True)


if __name__ == "__main__":
    main()
