"""Writing a PyTorch model as ONNX by either of PyTorch's exporters, without traces of the machine it was written on."""

import onnx
import torch


def export(model, example, path, dynamo, inputs, outputs):
    """Writes one file beside its final name, then renames it. `inputs` and `outputs` are lists of names."""
    model.eval()
    names = {"input_names": inputs, "output_names": outputs}
    part = path.with_name(path.name + ".tmp")
    if dynamo:
        program = torch.onnx.export(model, example, dynamo=True, opset_version=18, verbose=False, **names)
        onnx.save(without_traces(program.model_proto), part)
    else:
        torch.onnx.export(model, example, str(part), dynamo=False, opset_version=17, **names)
    part.rename(path)


def without_traces(proto):
    """Drops the exporter's notes on where in the source each node comes from: they hold paths of this machine."""
    graph = proto.graph
    for part in [graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output]:
        part.ClearField("metadata_props")
    proto.ClearField("metadata_props")
    return proto
