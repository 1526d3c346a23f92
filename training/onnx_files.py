"""Writing a PyTorch model as ONNX by either of PyTorch's exporters, without traces of the machine it was written on; and running it."""

import numpy as np
import onnx
import onnxruntime
import torch


def export(model, example, path, dynamo, inputs, outputs, dynamic=None, longest=None, opset=18, merge=False,
           axis_name="time"):
    """Writes one file beside its final name, then renames it. `inputs` and `outputs` are lists of names, `inputs` in the
    order of `forward`'s arguments. `dynamic` maps a name to the axis over time (or `axis_name`), whose length is 1 to `longest`. `opset`
    is that of the dynamo exporter, None for its default. With `merge`, constants that are equal (tables and masks of every layer) are
    written once."""
    model.eval()
    names = {"input_names": inputs, "output_names": outputs}
    dynamic = dynamic or {}
    part = path.with_name(path.name + ".tmp")
    if dynamo:
        time = torch.export.Dim(axis_name, min=1, max=longest) if dynamic else None
        shapes = tuple({dynamic[name]: time} if name in dynamic else None for name in inputs)
        program = torch.onnx.export(model, example, dynamo=True, opset_version=opset, verbose=False,
                                    dynamic_shapes=shapes if dynamic else None, **names)
        proto = without_traces(program.model_proto)
        onnx.save(merged(proto) if merge else proto, part)
    else:
        axes = {name: {axis: axis_name} for name, axis in dynamic.items()}
        torch.onnx.export(model, example, str(part), dynamo=False, opset_version=17, dynamic_axes=axes or None, **names)
    part.rename(path)


def without_traces(proto):
    """Drops the exporter's notes on where in the source each node comes from: they hold paths of this machine."""
    graph = proto.graph
    for part in [graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output]:
        part.ClearField("metadata_props")
    proto.ClearField("metadata_props")
    return proto


def merged(proto):
    """One initializer in place of several that are equal."""
    graph, first, renamed = proto.graph, {}, {}
    for tensor in list(graph.initializer):
        unnamed = onnx.TensorProto()
        unnamed.CopyFrom(tensor)
        unnamed.ClearField("name")
        kept = first.setdefault(unnamed.SerializeToString(deterministic=True), tensor.name)
        if kept != tensor.name:
            renamed[tensor.name] = kept
            graph.initializer.remove(tensor)
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for info in [info for info in graph.value_info if info.name in renamed]:
        graph.value_info.remove(info)
    return proto


def results(path, rows):
    """The output of a model with one input and one output, by onnxruntime: rows go in one by one, as a batch of 1 each."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: row[None]})[0] for row in rows])
