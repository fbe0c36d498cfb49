"""An ONNX file as a graph: its operators under torch's names, its shapes by ONNX's own inference."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from mmsim.errors import InputError
from mmsim.graph import Graph, Provenance
from mmsim.layer import Attr, Layer, Role, Tensor
from mmsim.tracing.lowering import UNASSIGNED
from mmsim.tracing.symbolic import Sizes

Attrs: TypeAlias = dict[str, Any]

DEFAULT_SIZE = 64  # of a named size other than the batch

NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Conv": ("torch.nn.functional.conv{n}d", ("input", "weight", "bias")),
    "ConvTranspose": ("torch.nn.functional.conv_transpose{n}d", ("input", "weight", "bias")),
    "Gemm": ("torch.nn.functional.linear", ("input", "weight", "bias")),
    "MatMul": ("torch.matmul", ("input", "other")),
    "Einsum": ("torch.einsum", ("tensors.0", "tensors.1", "tensors.2")),
    "BatchNormalization": (
        "torch.nn.functional.batch_norm", ("input", "weight", "bias", "running_mean", "running_var"),
    ),
    "InstanceNormalization": ("torch.nn.functional.instance_norm", ("input", "weight", "bias")),
    "LayerNormalization": ("torch.nn.functional.layer_norm", ("input", "weight", "bias")),
    "GroupNormalization": ("torch.nn.functional.group_norm", ("input", "weight", "bias")),
    "MaxPool": ("torch.nn.functional.max_pool{n}d", ("input",)),
    "AveragePool": ("torch.nn.functional.avg_pool{n}d", ("input",)),
    "GlobalAveragePool": ("torch.nn.functional.adaptive_avg_pool{n}d", ("input",)),
    "GlobalMaxPool": ("torch.nn.functional.adaptive_max_pool{n}d", ("input",)),
    "Gather": ("torch.index_select", ("input", "index")),
    "GatherElements": ("torch.gather", ("input", "index")),
    "GatherND": ("torch.gather", ("input", "index")),
    "ScatterND": ("torch.index_put", ("input", "indices.0", "values")),
    "ScatterElements": ("torch.scatter", ("input", "index", "src")),
    "Concat": ("torch.cat", tuple(f"tensors.{i}" for i in range(64))),
    "Where": ("torch.where", ("condition", "input", "other")),
    "Resize": ("torch.nn.functional.interpolate", ("input",)),
    "Pad": ("torch.nn.functional.pad", ("input",)),
    "LSTM": ("torch.lstm", ("input", "params.0", "params.1", "params.2")),
    "GRU": ("torch.gru", ("input", "params.0", "params.1", "params.2")),
    **{
        name: (f"torch.{op}", ("input", "other"))
        for name, op in {
            "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Pow": "pow", "Mod": "remainder", "Equal": "eq",
            "Greater": "gt", "GreaterOrEqual": "ge", "Less": "lt", "LessOrEqual": "le", "And": "logical_and",
            "Or": "logical_or", "Xor": "logical_xor", "Max": "maximum", "Min": "minimum", "PRelu": "prelu",
        }.items()
    },
    **{
        name: (f"torch.{op}", ("input",))
        for name, op in {
            "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Exp": "exp", "Log": "log", "Sqrt": "sqrt",
            "Reciprocal": "reciprocal", "Neg": "neg", "Abs": "abs", "Erf": "erf", "Sin": "sin", "Cos": "cos",
            "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sign": "sign", "Not": "logical_not", "Clip": "clamp",
            "LeakyRelu": "nn.functional.leaky_relu", "Elu": "nn.functional.elu", "Selu": "nn.functional.selu",
            "Gelu": "nn.functional.gelu", "HardSigmoid": "nn.functional.hardsigmoid", "Mish": "nn.functional.mish",
            "HardSwish": "nn.functional.hardswish", "Softplus": "nn.functional.softplus", "Softmax": "softmax",
            "LogSoftmax": "log_softmax", "ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "amax",
            "ReduceMin": "amin", "ReduceProd": "prod", "ReduceL2": "linalg.norm", "ArgMax": "argmax",
            "ArgMin": "argmin", "CumSum": "cumsum", "TopK": "topk", "NonZero": "nonzero", "Cast": "Tensor.type",
            "Tile": "tile", "Identity": "alias", "Dropout": "nn.functional.dropout", "Transpose": "permute",
            "Reshape": "Tensor.view", "Flatten": "Tensor.view", "Squeeze": "squeeze", "Unsqueeze": "unsqueeze",
            "Expand": "Tensor.expand", "Slice": "narrow", "Split": "split", "Shape": "Tensor.size", "Range": "arange",
            "ConstantOfShape": "full", "IsNaN": "isnan", "Trilu": "tril", "OneHot": "one_hot",
        }.items()
    },
}  # fmt: skip
"""ONNX operator -> torch's name, and the names of the inputs that are tensors there."""


def read_onnx(path: str | Path) -> tuple[Callable[[Sizes], Graph], dict[str, int]]:
    """The file's graph as a function of its named sizes, and those sizes; the first axis of an input is ``B``.

    Raises `InputError` for a file that is not ONNX, and when the package `onnx` is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise InputError("reading ONNX needs the package onnx: pip install onnx", file=str(path)) from None
    if not Path(path).is_file():
        raise InputError("no such file", file=str(path))
    try:
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(model)
    except Exception as error:
        raise InputError(f"is not a valid ONNX model: {str(error).splitlines()[0]}", file=str(path)) from None
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in given]
    axes = {(v.name, i): _axis_name(i, d) for v in inputs for i, d in enumerate(v.type.tensor_type.shape.dim)}
    named = {name: 0 if name == "B" else DEFAULT_SIZE for name in axes.values() if name}

    def graph_at(sizes: Sizes) -> Graph:
        sized = onnx.ModelProto()
        sized.CopyFrom(model)
        del sized.graph.value_info[:]
        for value in (*sized.graph.input, *sized.graph.output):
            for i, dim in enumerate(value.type.tensor_type.shape.dim):
                if name := axes.get((value.name, i)):
                    dim.dim_value = sizes[name]
                elif value.name not in {v.name for v in inputs}:
                    dim.Clear()
        return _Reader(onnx.shape_inference.infer_shapes(sized, data_prop=True), str(path)).graph()

    return graph_at, dict(sorted(named.items(), key=lambda item: item[0] != "B"))


def _axis_name(position: int, dim: Any) -> str | None:
    """The symbol of an axis: None for a number, ``B`` for an open first axis, else the file's own name."""
    if dim.HasField("dim_value"):
        return None
    return "B" if position == 0 else re.sub(r"\W", "_", dim.dim_param) or f"axis{position}"


class _Reader:
    """One model with concrete inputs: its tensors, then its layers."""

    def __init__(self, model: Any, file: str) -> None:
        self.model, self.file = model, file
        self.tensors: dict[str, Tensor] = {}
        for value in (*model.graph.value_info, *model.graph.output, *model.graph.input):
            shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            role: Role = "output" if value in list(model.graph.output) else "activation"
            self.tensors[value.name] = Tensor(value.name, tuple(shape), _dtype(value.type.tensor_type.elem_type), role)
        for value in model.graph.input:
            tensor = self.tensors[value.name]
            self.tensors[value.name] = Tensor(tensor.name, tensor.shape, tensor.dtype, "input")
        for constant in model.graph.initializer:
            self._constant(constant.name, constant)

    def graph(self) -> Graph:
        """The graph with concrete sizes."""
        layers: list[Layer] = []
        for node in self.model.graph.node:
            if node.op_type == "Constant":
                self._constant(node.output[0], _attributes(node).get("value"))
            else:
                layers.append(self._layer(node, len(layers)))
        given = {tensor.name for tensor in self.model.graph.initializer}
        return Graph(
            workload=Path(self.file).stem,
            variant="",
            layers=tuple(layers),
            inputs=tuple(self.tensors[v.name] for v in self.model.graph.input if v.name not in given),
            outputs=tuple(self.tensors[v.name] for v in self.model.graph.output),
            provenance=Provenance(route="onnx", software=f"{self.model.producer_name} {self.model.producer_version}"),
        )

    def _constant(self, name: str, value: Any) -> None:
        shape, dtype = tuple(getattr(value, "dims", ())), _dtype(getattr(value, "data_type", 1))
        floating = dtype.startswith(("float", "bfloat")) and bool(shape)
        self.tensors[name] = Tensor(name, shape, dtype, "weight" if floating else "constant")

    def _layer(self, node: Any, number: int) -> Layer:
        attributes = _attributes(node)
        inputs = [self._known(name, node) if name else None for name in node.input]
        outputs = tuple(self._known(name, node) for name in node.output if name)
        op, names = NAMES.get(node.op_type, (f"onnx.{node.op_type}", tuple(f"input.{i}" for i in range(len(inputs)))))
        rank = len(inputs[0].shape) - 2 if inputs and inputs[0] is not None else 0
        operands = [(name, t) for name, t in zip(names, inputs, strict=False) if t is not None]
        if node.op_type in ("LSTM", "GRU"):
            operands = list(_recurrent(operands))
        if node.op_type == "Gemm" and not attributes.get("transB"):
            op, operands = "torch.addmm", [*operands[2:], ("mat1", operands[0][1]), ("mat2", operands[1][1])]
        path = ".".join(part for part in node.name.strip("/").split("/")[:-1])
        return Layer(
            id=number,
            name=node.name or f"{node.op_type.lower()}_{number}",
            op=op.format(n=rank),
            stage=UNASSIGNED,
            operands=tuple(operands),
            outputs=outputs,
            attrs=tuple(_torch_attributes(node.op_type, attributes, inputs).items()),
            module_path=path,
            source=Path(self.file).name,
        )

    def _known(self, name: str, node: Any) -> Tensor:
        tensor = self.tensors.get(name)
        if tensor is None:
            where = node.name or node.op_type
            raise InputError(f"the shape of {name!r} cannot be inferred", file=self.file, field=where)
        return tensor


def _recurrent(operands: list[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """ONNX keeps both directions in one tensor (D, rows, columns); torch has a matrix for each."""
    matrices = [tensor for name, tensor in operands if name in ("params.0", "params.1")]
    yield operands[0]
    count = 0
    for direction in range(int(str(matrices[0].shape[0]))):
        for tensor in matrices:
            yield f"params.{count}", Tensor(f"{tensor.name}.{direction}", tensor.shape[1:], tensor.dtype, tensor.role)
            count += 1


def _attributes(node: Any) -> Attrs:
    import onnx

    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _torch_attributes(op: str, given: Mapping[str, Any], inputs: list[Tensor | None]) -> dict[str, Attr]:
    """The attributes that an operation's cost depends on, by torch's names."""
    names = {
        "strides": "stride", "dilations": "dilation", "group": "groups", "kernel_shape": "kernel_size", "axis": "dim",
        "axes": "dim", "equation": "equation", "epsilon": "eps", "keepdims": "keepdim", "perm": "dims",
    }  # fmt: skip
    out: dict[str, Attr] = {names[name]: _plain(value) for name, value in given.items() if name in names}
    if "pads" in given:
        half = len(given["pads"]) // 2
        out["padding"] = tuple(max(a, b) for a, b in zip(given["pads"][:half], given["pads"][half:], strict=True))
    if op in ("LSTM", "GRU"):
        out |= {"num_layers": 1, "bidirectional": given.get("direction") == b"bidirectional", "batch_first": False}
    if op == "BatchNormalization":
        out["training"] = False
    if op == "LayerNormalization" and inputs[1] is not None:
        out["normalized_shape"] = inputs[1].shape
    return out


def _plain(value: Any) -> Attr:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (bool, int, float, str)):
        return value
    return tuple(_plain(part) for part in value)


def _dtype(code: int) -> str:
    import onnx

    name = str(onnx.TensorProto.DataType.Name(code)).lower()
    return {"float": "float32", "double": "float64", "undefined": "float32"}.get(name, name)
