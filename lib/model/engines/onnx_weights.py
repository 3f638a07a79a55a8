"""The weights inside an ONNX file, read with protobuf: the package onnx, which training uses, is too much for an executor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from lib.errors import BundleError

Array = npt.NDArray[Any]

# TensorProto.DataType of onnx.proto3.
TYPES = {1: np.float32, 3: np.int8, 7: np.int64, 10: np.float16}

# Names, numbers and types of the fields of onnx.proto3 that lead to the weights; a decoder skips all others.
_FIELD = descriptor_pb2.FieldDescriptorProto
_MESSAGES: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "Tensor": {
        "dims": (1, _FIELD.LABEL_REPEATED, _FIELD.TYPE_INT64, None),
        "data_type": (2, _FIELD.LABEL_OPTIONAL, _FIELD.TYPE_INT32, None),
        "name": (8, _FIELD.LABEL_OPTIONAL, _FIELD.TYPE_STRING, None),
        "raw_data": (9, _FIELD.LABEL_OPTIONAL, _FIELD.TYPE_BYTES, None),
    },
    "Graph": {"initializer": (5, _FIELD.LABEL_REPEATED, _FIELD.TYPE_MESSAGE, "Tensor")},
    "Model": {"graph": (7, _FIELD.LABEL_OPTIONAL, _FIELD.TYPE_MESSAGE, "Graph")},
}


def weights_of(model: bytes) -> Mapping[str, Array]:
    """The initializers of a model by name.

    Raises:
        BundleError: not an ONNX model, or a weight whose bytes do not fit its shape.
    """
    try:
        graph = _model_type().FromString(model).graph
        return {tensor.name: _array(tensor) for tensor in graph.initializer}
    except (DecodeError, ValueError, KeyError) as error:
        raise BundleError(
            f"Expected the weights of an ONNX model, found something else ({error}); retrain the bundle."
        ) from None


def _array(tensor: Any) -> Array:
    return np.frombuffer(tensor.raw_data, dtype=TYPES[tensor.data_type]).reshape(tuple(tensor.dims))


def _model_type() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="weights.proto", package="weights", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, label, kind, of) in fields.items():
            message.field.add(name=field, number=number, label=label, type=kind, type_name=of and f".weights.{of}")
    # Its own pool: the default one would refuse a second description of the same file.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("weights.Model"))
