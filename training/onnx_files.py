"""Writing a PyTorch model as ONNX by either of PyTorch's exporters, without traces of the machine it was written on."""

import onnx
import torch


def export(model, example, path, dynamo, inputs, outputs, dynamic=None, longest=None, opset=18):
    """Writes one file beside its final name, then renames it. `inputs` and `outputs` are lists of names, `inputs` in the
    order of `forward`'s arguments. `dynamic` maps a name to the axis over time, whose length is 1 to `longest`. `opset` is that of the
    dynamo exporter."""
    model.eval()
    names = {"input_names": inputs, "output_names": outputs}
    dynamic = dynamic or {}
    part = path.with_name(path.name + ".tmp")
    if dynamo:
        time = torch.export.Dim("time", min=1, max=longest) if dynamic else None
        shapes = tuple({dynamic[name]: time} if name in dynamic else None for name in inputs)
        program = torch.onnx.export(model, example, dynamo=True, opset_version=opset, verbose=False,
                                    dynamic_shapes=shapes if dynamic else None, **names)
        onnx.save(without_traces(program.model_proto), part)
    else:
        axes = {name: {axis: "time"} for name, axis in dynamic.items()}
        torch.onnx.export(model, example, str(part), dynamo=False, opset_version=17, dynamic_axes=axes or None, **names)
    part.rename(path)


def without_traces(proto):
    """Drops the exporter's notes on where in the source each node comes from: they hold paths of this machine."""
    graph = proto.graph
    for part in [graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output]:
        part.ClearField("metadata_props")
    proto.ClearField("metadata_props")
    return proto
