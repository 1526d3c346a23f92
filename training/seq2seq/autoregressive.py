"""Decoders that attend to their own past, each with seeded random weights: definition, export, recording.

Usage: python autoregressive.py --outputs ../../host-tests/fixtures/seq2seq

A decoder is exported as it is trained, over a whole sequence of tokens with a causal mask; attn runs it one token at a time
with keys and values kept. Writes for each system what systems.py writes; `symbols` (or `features`, float32 rows) and their
lengths only where there is an encoder. `logits` are those of one run over the whole sequence.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn

for folder in ["..", "../attention"]:
    sys.path.insert(0, str(Path(__file__).resolve().parent / folder))
import llama  # noqa: E402
import onnx_files  # noqa: E402
from transformers import EncoderLayer, sinusoidal  # noqa: E402

VOCABULARY, WIDTH, HEADS, HIDDEN = 30, 32, 4, 64
LONGEST, FRAMES, BANDS = 12, 24, 20
SAMPLES, TOKENS = 12, 10
START, END, PAD = 0, 1, 0


class Words(nn.Module):
    """Embeddings, scaled as in "Attention is all you need", and positions: learned or sinusoidal."""

    def __init__(self, longest, learned):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        table = 0.5 * torch.randn(1, longest, WIDTH) if learned else sinusoidal(longest, WIDTH)
        self.positions = nn.Parameter(table, requires_grad=learned)

    def forward(self, tokens):
        return self.words(tokens) * math.sqrt(WIDTH) / 4 + self.positions[:, : tokens.shape[1]]


class MultiHead(nn.Module):
    """Attention written out, so that either exporter leaves the number of rows open; nn.MultiheadAttention has the TorchScript
    exporter fix it."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def split(self, x):
        return x.view(1, -1, HEADS, WIDTH // HEADS).transpose(1, 2)

    def forward(self, x, memory, causal=False):
        q, k, v = self.split(self.q(x)), self.split(self.k(memory)), self.split(self.v(memory))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out(y.transpose(1, 2).reshape(1, -1, WIDTH))


class Layer(nn.Module):
    """Post-norm encoder layer, or decoder layer where there is a memory."""

    def __init__(self, decoder=False):
        super().__init__()
        self.past, self.cross = MultiHead(), MultiHead() if decoder else None
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3 if decoder else 2))
        self.feed = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, WIDTH))

    def forward(self, x, memory=None):
        x = self.norms[0](x + self.past(x, x, causal=memory is not None))
        if memory is not None:
            x = self.norms[1](x + self.cross(x, memory))
        return self.norms[-1](x + self.feed(x))


class TextEncoder(nn.Module):
    """symbols [1, t] -> memory [1, t, WIDTH]"""

    def __init__(self):
        super().__init__()
        self.embed = Words(LONGEST, True)
        self.layers = nn.Sequential(Layer(), Layer())

    def forward(self, symbols):
        return self.layers(self.embed(symbols))


class TextDecoder(nn.Module):
    """tokens [1, TOKENS] and memory -> logits [1, TOKENS, VOCABULARY]"""

    def __init__(self):
        super().__init__()
        self.embed = Words(TOKENS, True)
        self.layers = nn.ModuleList([Layer(True), Layer(True)])
        self.out = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens, memory):
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, memory)
        return self.out(x)


class TorchEncoder(nn.Module):
    """The same of PyTorch's own layers, pre-norm, with sinusoidal positions."""

    def __init__(self, layer=EncoderLayer):
        super().__init__()
        self.embed = Words(LONGEST, False)
        layer = layer(WIDTH, HEADS, HIDDEN, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, symbols, padding=None):
        return self.layers(self.embed(symbols), src_key_padding_mask=padding)


class SpeechEncoder(nn.Module):
    """features [1, t, BANDS] -> memory [1, t / 4, WIDTH]: two strided convolutions, self-attention over what is left."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(BANDS, WIDTH, 3, stride=2, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.register_buffer("positions", sinusoidal(FRAMES // 4, WIDTH))
        self.layers = nn.Sequential(Layer(), Layer())

    def forward(self, features):
        y = nn.functional.gelu(self.conv1(features.transpose(1, 2)))
        y = nn.functional.gelu(self.conv2(y)).transpose(1, 2)
        return self.layers(y + self.positions[:, : y.shape[1]])


class DecoderLayer(nn.TransformerDecoderLayer):
    """As it is, except that it does not ask at run time whether its constant mask is causal."""

    def _sa_block(self, x, attn_mask, key_padding_mask, is_causal=False):
        return self.dropout1(self.self_attn(x, x, x, attn_mask=attn_mask, need_weights=False)[0])


class TorchDecoder(nn.Module):
    """The same of PyTorch's own layers, pre-norm, with sinusoidal positions."""

    def __init__(self):
        super().__init__()
        self.embed = Words(TOKENS, False)
        layer = DecoderLayer(WIDTH, HEADS, HIDDEN, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerDecoder(layer, 2, norm=nn.LayerNorm(WIDTH))
        self.register_buffer("future", torch.full((TOKENS, TOKENS), -math.inf).triu(1))
        self.out = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens, memory, padding=None):
        return self.out(self.layers(self.embed(tokens), memory, tgt_mask=self.future, tgt_is_causal=False,
                                    memory_key_padding_mask=padding))


class Language(nn.Module):
    """tokens [1, TOKENS] -> logits: RMSNorm, rotary grouped-query attention, SwiGLU; nothing is read but the past."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, llama.D)
        self.blocks = nn.Sequential(llama.Block(), llama.Block())
        self.norm, self.out = llama.RmsNorm(), nn.Linear(llama.D, VOCABULARY, bias=False)

    def forward(self, tokens):
        return self.out(self.norm(self.blocks(self.words(tokens))))


class System:
    """Both modules; a `padded` one takes sentences of LONGEST symbols and a mask that is true in the padding."""

    def __init__(self, encoder, step, features=False, exporters=("dynamo", "torchscript"), padded=False):
        self.encoder, self.step, self.exporters, self.padded = encoder, step, exporters, padded
        self.input = "features" if features else "symbols"
        self.longest = FRAMES if features else LONGEST
        self.masks = ["padding"] if padded else []

    def feed(self, rows, length):
        """Inputs of the encoder by name, the mask with them."""
        if not self.padded:
            return {self.input: torch.from_numpy(rows[None, :length])}
        padding = torch.arange(LONGEST)[None] >= length
        return {self.input: torch.from_numpy(np.where(padding, PAD, rows[None])), "padding": padding}


SYSTEMS = {
    "transformer": lambda: System(TextEncoder(), TextDecoder()),
    "transformer_torch": lambda: System(TorchEncoder(), TorchDecoder(), exporters=["dynamo"]),
    "speech": lambda: System(SpeechEncoder(), TextDecoder(), features=True),
    "llama": lambda: System(None, Language()),
    "transformer_padded": lambda: System(TorchEncoder(nn.TransformerEncoderLayer), TorchDecoder(), padded=True),
}


def record(system, rng):
    """What PyTorch computes for random inputs and random tokens, the whole sequence at once."""
    tokens = rng.integers(2, VOCABULARY, (SAMPLES, TOKENS))
    tokens[:, 0] = START
    recording = {"tokens": tokens, "logits": np.zeros((SAMPLES, TOKENS, VOCABULARY), np.float32)}
    if system.encoder:
        least = 1 if system.input == "symbols" else 4
        lengths = rng.integers(least, system.longest + 1, SAMPLES)
        lengths[:2] = [system.longest, least]
        if system.input == "symbols":
            rows = rng.integers(1, VOCABULARY, (SAMPLES, LONGEST))
            rows[np.arange(LONGEST)[None] >= lengths[:, None]] = -1
        else:
            rows = rng.normal(size=(SAMPLES, FRAMES, BANDS)).astype(np.float32)
            rows[np.arange(FRAMES)[None] >= lengths[:, None]] = 0.0
        recording.update({system.input: rows, f"{system.input}_len": lengths})
    with torch.no_grad():
        for i in range(SAMPLES):
            feeds = [torch.from_numpy(tokens[i][None])]
            if system.encoder:
                inputs = system.feed(rows[i], lengths[i])
                feeds += [system.encoder(*inputs.values()), *(inputs[name] for name in system.masks)]
            recording["logits"][i] = system.step(*feeds)[0]
    return recording


def export(system, folder, name, exporter):
    dynamo = exporter == "dynamo"
    tokens = torch.arange(TOKENS)[None]
    if not system.encoder:
        onnx_files.export(system.step, (tokens,), folder / f"{name}_{exporter}.step.onnx", dynamo, ["tokens"], ["logits"])
        return
    example = {"symbols": torch.arange(LONGEST)[None], "features": torch.randn(1, FRAMES, BANDS)}[system.input]
    masks = [torch.arange(LONGEST)[None] >= LONGEST - 3 for _ in system.masks]
    with torch.no_grad():
        memory = system.encoder(example, *masks)
    if system.padded:
        for entry, module, inputs, names, output in [("encode", system.encoder, [example], ["symbols"], "memory"),
                                                     ("step", system.step, [tokens, memory], ["tokens", "memory"], "logits")]:
            onnx_files.export(module, (*inputs, *masks), folder / f"{name}_{exporter}.{entry}.onnx", dynamo,
                              names + system.masks, [output])
        return
    onnx_files.export(system.encoder, (example,), folder / f"{name}_{exporter}.encode.onnx", dynamo, [system.input],
                      ["memory"], {system.input: 1} | ({} if dynamo else {"memory": 1}), system.longest)
    onnx_files.export(system.step, (tokens, memory), folder / f"{name}_{exporter}.step.onnx", dynamo,
                      ["tokens", "memory"], ["logits"], {"memory": 1}, memory.shape[1])


def check(system, folder, name, exporter, recording):
    """onnxruntime must compute from the files what PyTorch computed; gives the largest difference of a logit."""
    load = lambda entry: onnxruntime.InferenceSession(folder / f"{name}_{exporter}.{entry}.onnx")
    step, encode = load("step"), load("encode") if system.encoder else None
    worst = 0.0
    for i, tokens in enumerate(recording["tokens"]):
        feeds = {"tokens": tokens[None]}
        if encode:
            inputs = system.feed(recording[system.input][i], recording[f"{system.input}_len"][i])
            inputs = {name: value.numpy() for name, value in inputs.items()}
            feeds["memory"] = encode.run(None, inputs)[0]
            feeds.update({name: inputs[name] for name in system.masks})
        worst = max(worst, np.abs(step.run(None, feeds)[0][0] - recording["logits"][i]).max())
    if worst > 1e-4:
        raise SystemExit(f"{name}, {exporter}: differs by {worst}")
    return worst


def bundle(system, name, exporter):
    """The manifest that `attn convert` takes."""
    lines = [f'name = "{name}"', f'calibrate = "{name}.npz"']
    if system.encoder:
        lines += [f"max_length = {system.longest}"]
    lines += ["", "[entries]"]
    lines += [f'encode = "{name}_{exporter}.encode.onnx"'] if system.encoder else []
    lines += [f'step = "{name}_{exporter}.step.onnx"', ""]
    if system.encoder:
        lines += ["[state]", 'memory = { from = ["encode.memory"], to = "step.memory" }', ""]
    lines += ["[decode]"]
    lines += ['encode = "encode"', f'input = "{system.input}"'] if system.encoder else []
    lines += ['padding_mask = "padding"', f"pad = {PAD}"] if system.padded else []
    lines += ['step = "step"', 'token = "tokens"', 'logits = "logits"']
    lines += [f"start = {START}", f"end = {END}", f"max_tokens = {TOKENS}"]
    return "\n".join(lines) + "\n"


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
        torch.manual_seed(100 + number)
        system = make()
        for module in filter(None, [system.encoder, system.step]):
            module.eval()
        recording = record(system, np.random.default_rng(number))
        np.savez_compressed(arguments.outputs / f"{name}.npz", **recording)
        for exporter in system.exporters:
            export(system, arguments.outputs, name, exporter)
            (arguments.outputs / f"{name}_{exporter}.bundle.toml").write_text(bundle(system, name, exporter))
            worst = check(system, arguments.outputs, name, exporter, recording)
            logits = recording["logits"]
            varied = logits[:, 1:].std(axis=0).mean() / logits.std()
            print(f"{name}, {exporter}: within {worst:.1e}; deviation between samples {varied:.2f} of the whole", flush=True)


if __name__ == "__main__":
    main()
