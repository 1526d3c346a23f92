"""The recurrent encoder-decoders that attn must convert, each with seeded random weights: definition, export, recording.

Usage: python systems.py --outputs ../../host-tests/fixtures/seq2seq

writes for each system NAME_{dynamo,torchscript}.{encode,step}.onnx, a NAME_{dynamo,torchscript}.bundle.toml for each pair,
and NAME.npz, all of it PyTorch's own float results: `symbols` [samples, 12] padded with -1, `symbols_len`, `tokens`
[samples, 6] fed to the decoder one by one, `logits` [samples, 6, 30] after each, and `weights` [samples, 6, 12] of the
attention, zero in the padding, where there is attention.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import onnx_files  # noqa: E402

VOCABULARY = 30  # of input symbols and of output tokens
EMBEDDING, HIDDEN, KEY = 16, 24, 20
LONGEST = 12
SAMPLES, TOKENS = 16, 6
START, END, PAD = 0, 1, 0


class Encoder(nn.Module):
    """symbols [1, t] -> memory [1, t, width] and the state, or state and cell, [layers, 1, HIDDEN]."""

    masked = False

    def __init__(self, kind, layers, bidirectional):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
        rnn = {"gru": nn.GRU, "lstm": nn.LSTM}[kind]
        self.rnn = rnn(EMBEDDING, HIDDEN, layers, batch_first=True, bidirectional=bidirectional)
        self.width = HIDDEN * (2 if bidirectional else 1)
        bridges = 0 if not bidirectional else 2 if kind == "lstm" else 1
        self.bridges = nn.ModuleList(nn.Linear(2 * HIDDEN, HIDDEN) for _ in range(bridges))

    def forward(self, symbols):
        memory, last = self.rnn(self.embedding(symbols))
        states = last if isinstance(last, tuple) else (last,)
        if self.bridges:
            states = [torch.tanh(bridge(torch.cat([s[-2], s[-1]], dim=1))).unsqueeze(0)
                      for bridge, s in zip(self.bridges, states)]
        return memory, *states


class Masked(Encoder):
    """The same over a padded sentence of fixed length: padding is run over, and its rows of the memory are cleared."""

    masked = True

    def forward(self, symbols, mask):
        memory, *states = super().forward(symbols)
        return memory * mask.unsqueeze(-1), *states


class SelfAttention(nn.Module):
    """Self-attention layers in which padding is no key; the state is made of the first row."""

    masked, rnn = True, None

    def __init__(self):
        super().__init__()
        self.width = HIDDEN
        self.embedding = nn.Embedding(VOCABULARY, HIDDEN)
        self.positions = nn.Parameter(torch.randn(LONGEST, HIDDEN))
        layer = nn.TransformerEncoderLayer(HIDDEN, 4, 2 * HIDDEN, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.bridge = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, symbols, padding):
        memory = self.layers(self.embedding(symbols) + self.positions, src_key_padding_mask=padding)
        return memory, torch.tanh(self.bridge(memory[:, 0])).unsqueeze(0)


class Concatenated(nn.Module):
    """v . tanh(W [state; memory]) as tutorials write it: the state repeated over time and concatenated."""

    def __init__(self, width, activation=torch.tanh):
        super().__init__()
        self.energy = nn.Linear(HIDDEN + width, KEY)
        self.v = nn.Linear(KEY, 1, bias=False)
        self.activation = activation

    def forward(self, state, memory):
        hidden = state[-1].unsqueeze(1).expand(-1, memory.shape[1], -1)
        energy = self.activation(self.energy(torch.cat([hidden, memory], dim=2)))
        return self.v(energy).squeeze(2)


class Split(nn.Module):
    """v . tanh(Wq state + Wk memory), v a bare parameter."""

    def __init__(self, width):
        super().__init__()
        self.query = nn.Linear(HIDDEN, KEY, bias=False)
        self.key = nn.Linear(width, KEY)
        self.v = nn.Parameter(torch.rand(KEY) - 0.5)

    def forward(self, state, memory):
        return torch.sum(self.v * torch.tanh(self.query(state[-1]).unsqueeze(1) + self.key(memory)), dim=2)


class Dot(nn.Module):
    """state . memory, scaled by 1 / sqrt(HIDDEN) or not."""

    def __init__(self, width, scale=1.0):
        super().__init__()
        assert width == HIDDEN
        self.scale = scale

    def forward(self, state, memory):
        return torch.bmm(state[-1].unsqueeze(1), memory.transpose(1, 2)).squeeze(1) * self.scale


class General(nn.Module):
    """state . W memory."""

    def __init__(self, width):
        super().__init__()
        self.w = nn.Linear(width, HIDDEN, bias=False)

    def forward(self, state, memory):
        return torch.bmm(self.w(memory), state[-1].unsqueeze(2)).squeeze(2)


class PlainStep(nn.Module):
    """token [1] and states -> logits [1, VOCABULARY] and the next states."""

    def __init__(self, kind, layers):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
        self.rnn = {"gru": nn.GRU, "lstm": nn.LSTM}[kind](EMBEDDING, HIDDEN, layers, batch_first=True)
        self.out = nn.Linear(HIDDEN, VOCABULARY)

    def forward(self, token, state):
        output, state = self.rnn(self.embedding(token).unsqueeze(1), state)
        return self.out(output.squeeze(1)), state


class AttentionStep(nn.Module):
    """The same with the context that the previous state picks from the memory, and with its weights [1, t]."""

    hands_out_weights = True

    def __init__(self, score, width, kind):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
        self.score = score
        self.rnn = {"gru": nn.GRU, "lstm": nn.LSTM}[kind](EMBEDDING + width, HIDDEN, batch_first=True)
        self.out = nn.Linear(HIDDEN + width, VOCABULARY)

    def forward(self, token, state, memory):
        weights = torch.softmax(self.score(state, memory), dim=1)
        return self.decode(token, state, memory, weights)

    def decode(self, token, states, memory, weights):
        context = torch.bmm(weights.unsqueeze(1), memory)
        output, states = self.rnn(torch.cat([self.embedding(token).unsqueeze(1), context], dim=2), states)
        logits = self.out(torch.cat([output, context], dim=2).squeeze(1))
        return logits, *(states if isinstance(states, tuple) else (states,)), weights


class LstmStep(AttentionStep):
    def forward(self, token, state, cell, memory):
        weights = torch.softmax(self.score(state, memory), dim=1)
        return self.decode(token, (state, cell), memory, weights)


class MaskedStep(AttentionStep):
    """Scores of the padding are lowered: by masked_fill with -inf or -1e9, or by an added term."""

    def __init__(self, score, width, spelling):
        super().__init__(score, width, "gru")
        self.spelling = spelling

    def forward(self, token, state, memory, mask):
        scores = self.score(state, memory)
        if self.spelling == "bool":
            scores = scores.masked_fill(~mask, -math.inf)
        elif self.spelling == "zero":
            scores = scores.masked_fill(mask == 0, -1e9)
        else:
            scores = scores + (1.0 - mask) * -1e9
        return self.decode(token, state, memory, torch.softmax(scores, dim=1))


class FusedStep(AttentionStep):
    """Two heads by scaled_dot_product_attention, of which nobody learns the weights; the mask is true for padding."""

    hands_out_weights = False

    def __init__(self, width):
        super().__init__(nn.Linear(HIDDEN, width), width, "gru")
        self.key = nn.Linear(width, width)

    def forward(self, token, state, memory, padding):
        query, key, value = (x.unflatten(2, (2, -1)).transpose(1, 2)
                             for x in [self.score(state[-1]).unsqueeze(1), self.key(memory), memory])
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=~padding[:, None, None])
        return self.decode(token, state, context.transpose(1, 2).flatten(2))

    def decode(self, token, state, context):
        output, state = self.rnn(torch.cat([self.embedding(token).unsqueeze(1), context], dim=2), state)
        return self.out(torch.cat([output, context], dim=2).squeeze(1)), state


class System:
    """Both modules with the names of what goes in and out of them."""

    def __init__(self, encoder, step, mask=None, dynamic=None):
        self.encoder, self.step, self.mask = encoder, step, mask
        self.dynamic = mask is None if dynamic is None else dynamic
        attends = isinstance(step, AttentionStep)
        self.states = ["state", "cell"] if isinstance(encoder.rnn, nn.LSTM) else ["state"]
        self.memory = ["memory"] if attends else []
        self.weights = ["weights"] if attends and step.hands_out_weights else []
        masks = ["mask"] if mask else []
        self.encode_inputs = ["symbols"] + (masks if encoder.masked else [])
        self.encode_outputs = self.memory + self.states
        self.step_inputs = ["token", *self.states, *self.memory, *masks]
        self.step_outputs = ["logits", *(f"{name}_next" for name in self.states), *self.weights]

    def encode(self, feeds):
        """{name: tensor} in and out."""
        results = self.encoder(*(feeds[name] for name in self.encode_inputs))
        return dict(zip(["memory", *self.states], results))

    def decode(self, feeds):
        return dict(zip(self.step_outputs, self.step(*(feeds[name] for name in self.step_inputs))))

    def feeds(self, symbols, length):
        """Inputs of one sample; a masked system gets all LONGEST symbols, unless its axis is dynamic."""
        rows = length if self.dynamic else LONGEST
        feeds = {"symbols": torch.from_numpy(np.where(symbols < 0, PAD, symbols)[None, :rows])}
        if self.mask is None:
            return feeds
        mask = torch.arange(rows)[None] < length
        return {**feeds, "mask": mask if self.mask == "bool" else ~mask if self.mask == "padding" else mask.float()}


class PlainEncoder(Encoder):
    """Only the last state."""

    def forward(self, symbols):
        return super().forward(symbols)[1:]


class PlainSystem(System):
    def encode(self, feeds):
        return dict(zip(self.states, self.encoder(feeds["symbols"])))


def plain(layers):
    return PlainSystem(PlainEncoder("gru", layers, False), PlainStep("gru", layers))


def attending(score, kind="gru", bidirectional=False):
    encoder = Encoder(kind, 1, bidirectional)
    step = AttentionStep if kind == "gru" else LstmStep
    return System(encoder, step(score(encoder.width), encoder.width, kind))


def masked(spelling, score, dynamic=False):
    encoder = (Encoder if spelling == "bool" else Masked)("gru", 1, False)
    return System(encoder, MaskedStep(score(encoder.width), encoder.width, spelling), spelling, dynamic)


SYSTEMS = {
    "plain_gru": lambda: plain(1),
    "plain_gru2": lambda: plain(2),
    "additive": lambda: attending(Concatenated),
    "additive_linear": lambda: attending(lambda width: Concatenated(width, nn.Identity())),
    "additive_split": lambda: attending(Split),
    "dot": lambda: attending(Dot),
    "general": lambda: attending(General),
    "scaled_dot": lambda: attending(lambda width: Dot(width, 1 / math.sqrt(HIDDEN))),
    "bidirectional": lambda: attending(Concatenated, bidirectional=True),
    "lstm": lambda: attending(Concatenated, "lstm"),
    "bilstm": lambda: attending(Split, "lstm", bidirectional=True),
    "masked_bool": lambda: masked("bool", Split),
    "masked_zero": lambda: masked("zero", Concatenated),
    "masked_added": lambda: masked("added", General),
    "masked_dynamic": lambda: masked("zero", Dot, dynamic=True),
    "masked_transformer": lambda: System(SelfAttention(), FusedStep(HIDDEN), "padding"),
}


def enlarge(system):
    """Random weights as PyTorch draws them give almost the same logits for every input: these do not."""
    with torch.no_grad():
        for name, weight in [*system.encoder.named_parameters(), *system.step.named_parameters()]:
            if "rnn.weight" in name or "bridge" in name:
                weight *= 2.0
            elif "score" in name:
                weight *= 8.0 if name.endswith(("v", "v.weight")) else 2.0
            elif name == "out.weight":
                weight *= 3.0


def record(system, rng):
    """What PyTorch computes for random sentences and random tokens."""
    lengths = rng.integers(1, LONGEST + 1, SAMPLES)
    lengths[:3] = [LONGEST, 1, 2]
    symbols = rng.integers(1, VOCABULARY, (SAMPLES, LONGEST))
    symbols[np.arange(LONGEST)[None] >= lengths[:, None]] = -1
    tokens = rng.integers(2, VOCABULARY, (SAMPLES, TOKENS))
    tokens[:, 0] = START
    recording = {"symbols": symbols, "symbols_len": lengths, "tokens": tokens,
                 "logits": np.zeros((SAMPLES, TOKENS, VOCABULARY), np.float32)}
    if system.weights:
        recording["weights"] = np.zeros((SAMPLES, TOKENS, LONGEST), np.float32)
    for i in range(SAMPLES):
        for j, out in enumerate(decode(system.encode, system.decode, system, symbols[i], lengths[i], tokens[i])):
            recording["logits"][i, j] = out["logits"][0]
            if system.weights:
                recording["weights"][i, j, : out["weights"].shape[1]] = out["weights"][0]
    return recording


def decode(encode, step, system, symbols, length, tokens):
    """The step's outputs for each token, fed by `encode` and by itself."""
    feeds = system.feeds(symbols, length)
    with torch.no_grad():
        feeds.update(encode(feeds))
        for token in tokens:
            out = step({**feeds, "token": torch.tensor([token])})
            feeds.update({name: out[f"{name}_next"] for name in system.states})
            yield out


def export(system, folder, name, exporter):
    """Both files of one exporter."""
    example = system.feeds(np.arange(1, LONGEST + 1), LONGEST - 3)
    with torch.no_grad():
        example.update(system.encode(example), token=torch.tensor([3]))
    for entry, module, inputs, outputs in [("encode", system.encoder, system.encode_inputs, system.encode_outputs),
                                           ("step", system.step, system.step_inputs, system.step_outputs)]:
        module.eval()
        over_time = {key: 1 for key in ["symbols", "memory", "mask", "weights"]
                     if key in inputs + outputs and system.dynamic}
        arguments = tuple(example[key] for key in inputs)
        onnx_files.export(module, arguments, folder / f"{name}_{exporter}.{entry}.onnx", exporter == "dynamo", inputs,
                          outputs, over_time, LONGEST)


def check(system, folder, name, exporter, recording):
    """onnxruntime must compute from the files what PyTorch computed; gives the largest difference of a logit."""
    sessions = [onnxruntime.InferenceSession(folder / f"{name}_{exporter}.{entry}.onnx") for entry in ["encode", "step"]]

    def run(session):
        names = [i.name for i in session.get_inputs()]
        outputs = [o.name for o in session.get_outputs()]
        return lambda feeds: dict(zip(outputs, map(torch.from_numpy,
                                                   session.run(None, {n: feeds[n].numpy() for n in names}))))

    worst = 0.0
    for i in range(SAMPLES):
        tokens, length = recording["tokens"][i], recording["symbols_len"][i]
        for j, out in enumerate(decode(*map(run, sessions), system, recording["symbols"][i], length, tokens)):
            worst = max(worst, np.abs(out["logits"][0].numpy() - recording["logits"][i, j]).max())
            for key in system.weights:
                row = out[key][0].numpy()
                worst = max(worst, np.abs(row - recording[key][i, j, : len(row)]).max())
    if worst > 1e-4:
        raise SystemExit(f"{name}, {exporter}: differs by {worst}")
    return worst


def bundle(system, name, exporter):
    """The manifest that `attn convert` takes."""
    states = "".join(f'{s} = {{ from = ["encode.{s}", "step.{s}_next"], to = "step.{s}" }}\n' for s in system.states)
    memory = "".join(f'{m} = {{ from = ["encode.{m}"], to = "step.{m}" }}\n' for m in system.memory)
    weights = "".join(f'{w} = "{w}"\n' for w in system.weights)
    mask = ""
    if system.mask == "padding":
        mask = 'padding_mask = "mask"  # 1 for padding, 0 for symbols, of every entry that has it\n'
    elif system.mask:
        mask = 'mask = "mask"       # 1 for symbols, 0 for padding, of every entry that has it\n'
    if system.mask and not system.dynamic:
        mask += f"pad = {PAD}\n"
    return f"""name = "{name}"
calibrate = "{name}.npz"
max_length = {LONGEST}

[entries]
encode = "{name}_{exporter}.encode.onnx"
step = "{name}_{exporter}.step.onnx"

[state]
{states}{memory}
[decode]
encode = "encode"
step = "step"
input = "symbols"
token = "token"
logits = "logits"
{weights}{mask}start = {START}
end = {END}
max_tokens = {TOKENS}
"""


def spread(recording):
    """How much logits vary from sample to sample, and how sure attention is: neither should be near nothing."""
    logits = recording["logits"]
    text = f"deviation between samples {logits[:, 1:].std(axis=0).mean() / logits.std():.2f} of the whole"
    if "weights" in recording:
        longer = recording["symbols_len"] > 3
        text += f", largest weight {recording['weights'][longer].max(axis=-1).mean():.2f} on average"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, required=True)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    arguments.outputs.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)  # the TorchScript exporter cannot trace the fused layer
    for number, (name, make) in enumerate(SYSTEMS.items()):
        if arguments.only and name not in arguments.only:
            continue
        torch.manual_seed(number)
        system = make()
        enlarge(system)
        recording = record(system, np.random.default_rng(number))
        np.savez_compressed(arguments.outputs / f"{name}.npz", **recording)
        for exporter in ["dynamo", "torchscript"]:
            export(system, arguments.outputs, name, exporter)
            (arguments.outputs / f"{name}_{exporter}.bundle.toml").write_text(bundle(system, name, exporter))
            worst = check(system, arguments.outputs, name, exporter, recording)
            print(f"{name}, {exporter}: within {worst:.1e}; {spread(recording)}", flush=True)


if __name__ == "__main__":
    main()
