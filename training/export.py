"""The Keras weights as an ONNX graph: Gather, Cast, LSTM with sequence_lens, Gemm, Relu, Gemm, Softmax; next to the LSTM a bag.

Built with onnx.helper rather than converted: the graph is small, its shapes are ours (time first, real lengths instead
of masks), and a converter would be a dependency that follows neither Keras nor ONNX closely.
"""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.bag import quantized

OPSET = 17
IR_VERSION = 8

Floats = npt.NDArray[np.float32]


def export_onnx(network: keras.Model) -> bytes:
    """The network as ONNX: ids int32 [time, rows] and lengths int32 [rows] to probabilities float32 [rows, labels].

    A second output is the evidence, ln Σ exp(logit), float32 [rows]. With a bag the inputs are also features int32 and weights
    float32 [rows, features].
    """
    directions = _lstm_weights(network)
    units = directions[0][1].shape[0]
    bag = "bag" in [layer.name for layer in network.layers]
    constants = _constants(network, directions)
    if bag:
        constants |= _bag_constants(network.get_layer("bag").get_weights()[0], network.get_layer("bag_dense").get_weights()[0])
    graph = helper.make_graph(
        _nodes(len(directions), units, bag),
        "categorizer",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT32, ["time", "rows"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, ["rows"]),
            *([helper.make_tensor_value_info("features", TensorProto.INT32, ["rows", "features"])] if bag else []),
            *([helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["rows", "features"])] if bag else []),
        ],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", network.output_shape[-1]]),
            helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["rows"]),
        ],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "catalog-categorizer"
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _constants(network: keras.Model, directions: list[tuple[Floats, Floats, Floats]]) -> dict[str, npt.NDArray[np.generic]]:
    dense, bias = network.get_layer("dense").get_weights()
    output, output_bias = network.get_layer("probabilities").get_weights()
    units = directions[0][1].shape[0]
    return {
        # This is exact: training rounded these to float16 values (training.network.round_embeddings).
        "embeddings": network.get_layer("embedding").get_weights()[0].astype(np.float16),
        "W": np.stack([_gates(kernel).T for kernel, _, _ in directions]),
        "R": np.stack([_gates(recurrent).T for _, recurrent, _ in directions]),
        # ONNX stores two biases per gate, of the input and of the recurrence; Keras stores their sum.
        "B": np.stack([np.concatenate([_gates(b[None])[0], np.zeros_like(b)]) for _, _, b in directions]),
        "dense_weights": dense,
        "dense_bias": bias,
        "output_weights": output,
        "output_bias": output_bias,
        "rows_by_states": np.array([0, len(directions) * units], np.int64),
    }


def _nodes(directions: int, units: int, bag: bool) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Gather", ["embeddings", "ids"], ["embedded16"]),
        helper.make_node("Cast", ["embedded16"], ["embedded"], to=TensorProto.FLOAT),
        helper.make_node(
            "LSTM",
            ["embedded", "W", "R", "B", "lengths"],
            ["", "last_states"],
            hidden_size=units,
            direction="bidirectional" if directions == 2 else "forward",
        ),
        helper.make_node("Transpose", ["last_states"], ["states_by_row"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["states_by_row", "rows_by_states"], ["states"]),
        helper.make_node("Gemm", ["states", "dense_weights", "dense_bias"], ["dense_sum"]),
        helper.make_node("Relu", ["dense_sum"], ["dense"]),
        *(_bag_nodes() if bag else []),
        helper.make_node("Gemm", ["both" if bag else "dense", "output_weights", "output_bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ReduceLogSumExp", ["logits"], ["evidence"], axes=[1], keepdims=0),
    ]


def _bag_constants(table: Floats, slopes: Floats) -> dict[str, npt.NDArray[np.generic]]:
    integers, scales = quantized(table)
    return {"bag_table": integers, "bag_scales": scales, "bag_slopes": slopes, "axis_1": np.array([1], np.int64)}


def _bag_nodes() -> list[onnx.NodeProto]:
    """The sum of the features' rows, each times its scale and its weight, as a product of [1, features] and [features, width]."""
    return [
        helper.make_node("Gather", ["bag_table", "features"], ["bag_rows8"]),
        helper.make_node("Cast", ["bag_rows8"], ["bag_rows"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["bag_scales", "features"], ["scales"]),
        helper.make_node("Mul", ["weights", "scales"], ["scaled_weights"]),
        helper.make_node("Unsqueeze", ["scaled_weights", "axis_1"], ["weights_as_rows"]),
        helper.make_node("MatMul", ["weights_as_rows", "bag_rows"], ["bag_sums"]),
        helper.make_node("Squeeze", ["bag_sums", "axis_1"], ["bag_sum"]),
        helper.make_node("PRelu", ["bag_sum", "bag_slopes"], ["bag"]),
        helper.make_node("Concat", ["dense", "bag"], ["both"], axis=1),
    ]


def _lstm_weights(network: keras.Model) -> list[tuple[Floats, Floats, Floats]]:
    """Kernel [embedding, 4 x units], recurrent kernel [units, 4 x units] and bias [4 x units] of each direction."""
    names = [layer.name for layer in network.layers]
    weights = network.get_layer("bilstm" if "bilstm" in names else "lstm").get_weights()
    return [tuple(weights[i : i + 3]) for i in range(0, len(weights), 3)]


def _gates(columns: Floats) -> Floats:
    """Gate order of Keras (i, f, c, o) to that of ONNX (i, o, f, c), along the last axis."""
    i, f, c, o = np.split(columns, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1)
