"""llama_cpp.py LIST: opens each GGUF directory of LIST (lines: directory, token file) with llama.cpp and compares the negative log-likelihood of every window with our own in
DIRECTORY.nll (lines: window, sum). One line per case: "ok TEXT", "unsupported TEXT|MESSAGE" or "not_ok TEXT". SPDX-License-Identifier: Apache-2.0"""
import json
import os
import sys
import tempfile

import numpy as np
from cyllama.llama import llama_cpp

WINDOW = 32
# llama.cpp's CPU kernels round the activations in front of every product with a quantized matrix to 8 bits in blocks of 32 (256 for K types); a wrong row, group or key of
# the metadata moves a window by far more.
TOLERANCE, RMS_TOLERANCE = 6e-2, 1.5e-2
# It also sends tokens to other experts: models in which every token goes to all of them are within the bounds above (seen: 1.7e-2, 8.4e-3), the same models with a choice were seen at
# 8.4e-2, 2.9e-2. Two experts of one layer swapped in one of their tensors: 3.1e-1, 1.1e-1.
CHOICE_TOLERANCE, CHOICE_RMS_TOLERANCE = 0.2, 5e-2


class Model(llama_cpp.LlamaModel):
    """cyllama 0.2.18 looks for this when it is asked for logits."""

    @property
    def n_vocab(self):
        return self.get_vocab().n_vocab


def open_model(path):
    """The model, or None and what llama.cpp says; it speaks to stderr."""
    with tempfile.TemporaryFile() as said:
        saved = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            settings = llama_cpp.LlamaModelParams()
            settings.n_gpu_layers = 0
            model = Model(path, settings)
        except Exception as e:
            model, message = None, str(e)
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        said.seek(0)
        lines = [x for x in said.read().decode(errors="replace").splitlines() if "rror" in x]
    return model, "" if model else (lines[0] if lines else message)


def logits_of(context, ids):
    batch = llama_cpp.LlamaBatch(n_tokens=len(ids), embd=0, n_seq_max=1)
    for i, token in enumerate(ids):
        batch.add(int(token), i, [0], True)
    context.kv_cache_clear()
    context.decode(batch)
    return np.array([context.get_logits_ith(i) for i in range(len(ids))], np.float64)


def nll(logits, ids):
    top = logits[:-1].max(-1)
    norm = top + np.log(np.exp(logits[:-1] - top[:, None]).sum(-1))
    return float((norm - logits[np.arange(len(ids) - 1), ids[1:]]).sum())


def one(directory, tokens):
    name = os.path.basename(directory)
    ours = np.loadtxt(directory + ".nll", ndmin=2)[:, 1]
    ids = np.load(tokens).reshape(-1).astype(np.int64)[: len(ours) * WINDOW].reshape(-1, WINDOW)
    model, message = open_model(os.path.join(directory, "model.gguf"))
    if not model:
        return f"unsupported {name}|{message}"
    sizes = llama_cpp.LlamaContextParams()
    sizes.n_ctx = sizes.n_batch = sizes.n_ubatch = 256
    sizes.n_threads = sizes.n_threads_batch = 1
    context = llama_cpp.LlamaContext(model, sizes)
    theirs = np.array([nll(logits_of(context, row), row) for row in ids])
    worst = float(np.abs(theirs - ours).max()) / (WINDOW - 1)
    rms = float(np.sqrt(np.mean((theirs - ours) ** 2))) / (WINDOW - 1)
    ppl = [float(np.exp(x.sum() / (WINDOW - 1) / len(ours))) for x in (theirs, ours)]
    config = json.load(open(os.path.join(directory, "config.json")))
    experts = config.get("num_local_experts") or config.get("num_experts") or 0
    choice = experts > config.get("num_experts_per_tok", 0)
    good = worst <= (CHOICE_TOLERANCE if choice else TOLERANCE) and rms <= (CHOICE_RMS_TOLERANCE if choice else RMS_TOLERANCE)
    return (f"{'ok' if good else 'not_ok'} {name}: llama.cpp: largest difference {worst:.1e}, rms {rms:.1e} nats per prediction, "
            f"perplexity {ppl[0]:.3f}, ours {ppl[1]:.3f}")


llama_cpp.llama_backend_init()
for line in open(sys.argv[1]):
    print(one(*line.split()), flush=True)
