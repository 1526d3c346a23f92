"""Phoneme and word error rates on one split, with and without stress marks.

Usage: python evaluate.py --split test --beam 4                   float, the shipped ONNX files
       python evaluate.py --split val --checkpoint cache/g2p.pt   float, what training has left, through PyTorch
       python evaluate.py --split test --beam 4 --attn g2p.attn   the converted file, through `attn decode`
       python evaluate.py --split test --attn g2p.attn --agree    also how many words have float's tokens exactly

The converted file may come from either exporter's bundle: models/g2p.bundle.toml, or g2p_torchscript.bundle.toml in
host-tests/fixtures/seq2seq.

A word with several pronunciations is scored against the nearest of them. Phoneme error rate: insertions, deletions and
substitutions over the nearest references' phonemes, all words together. Word error rate: share of words that differ from
every reference. `--beam 1` is greedy.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import data
from decode import decode_words
from model import Pronouncer
from paths import ATTN, MODELS
from split import split

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bundles import Exported, distance, report_agreement  # noqa: E402


def rates(said, references):
    """(phoneme error rate, word error rate) in per cent of {word: phonemes} against {word: [phonemes, ...]}."""
    errors = phonemes = wrong = 0
    for word, hypothesis in said.items():
        distances = [(distance(hypothesis, reference), -len(reference)) for reference in references[word]]
        nearest, length = min(distances)
        errors, phonemes, wrong = errors + nearest, phonemes - length, wrong + (nearest > 0)
    return 100 * errors / phonemes, 100 * wrong / len(said)


def by_float(chosen, words, beam, checkpoint):
    tokens = data.tokens(words)
    if checkpoint:
        model = Pronouncer(len(data.SYMBOLS), len(tokens))
        model.load_state_dict(torch.load(checkpoint))
        model.eval()
    else:
        model = Exported(MODELS / "g2p")
    said = decode_words(model, chosen, data.SYMBOLS, beam)
    return {word: [tokens[number] for number in numbers] for word, numbers in said.items()}


def by_attn(chosen, beam, file):
    """The same with the converted file on the host: one `attn decode` over all words."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.txt"
        path.write_text("".join(f"{word}\n" for word in chosen))
        command = [ATTN, "decode", str(file), "--input", str(path), "--beam", str(beam), "--json"]
        decoded = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    said = {one["text"]: one["tokens"] for one in decoded}
    if list(said) != chosen:
        raise SystemExit("attn decode gave other words than it was asked for")
    return said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="val", choices=["val", "test"])
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--attn", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--limit", type=int, help="only so many words, spread over the split")
    parser.add_argument("--agree", action="store_true", help="compare with float, word by word")
    arguments = parser.parse_args()
    if arguments.agree and not arguments.attn:
        parser.error("--agree compares a converted file with float: name it with --attn")
    torch.set_num_threads(1)
    words = data.load()
    chosen = sorted(word for word in words if split(word) == arguments.split)
    if arguments.limit:
        chosen = chosen[:: max(1, len(chosen) // arguments.limit)][: arguments.limit]
    if arguments.attn:
        said = by_attn(chosen, arguments.beam, arguments.attn)
    if arguments.agree or not arguments.attn:
        exact = by_float(chosen, words, arguments.beam, arguments.checkpoint)
    if arguments.agree:
        report_agreement([said[word] for word in chosen], [exact[word] for word in chosen])
    said = said if arguments.attn else exact
    with_stress = rates(said, words)
    plain = {word: data.unstressed(phonemes) for word, phonemes in said.items()}
    without = rates(plain, {word: [data.unstressed(one) for one in words[word]] for word in chosen})
    print(f"{arguments.split}, {len(chosen)} words, beam {arguments.beam}: without stress PER {without[0]:.2f} % "
          f"WER {without[1]:.2f} %, with stress PER {with_stress[0]:.2f} % WER {with_stress[1]:.2f} %")


if __name__ == "__main__":
    main()
