"""Mixtures of experts: a reference in f32 that transformers computes with the values of a gptq output's words, unpacked here, and what the routers of two models say of the same
tokens. A rounding that moves a router's logits may send a token to another expert where two of them are as good as equal, and then everything behind it differs.
SPDX-License-Identifier: Apache-2.0"""
import json
import os
import re

import numpy as np
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM


def unpack(words, bits, n):
    """Fields of a little-endian bit stream down the first axis."""
    stream = np.unpackbits(words.view(np.uint8).reshape(words.shape[0], words.shape[1], 4).transpose(1, 0, 2).reshape(words.shape[1], -1), axis=1, bitorder="little")
    fields = stream[:, : n * bits].reshape(words.shape[1], n, bits)
    return (fields * (1 << np.arange(bits))).sum(-1)  # [columns of words, n]


def weight(f, module, q):
    """Values [rows, columns] of a linear of a gptq (v1) file."""
    g_idx = f.get_tensor(module + ".g_idx")
    scales = f.get_tensor(module + ".scales").astype(np.float64)
    codes = unpack(f.get_tensor(module + ".qweight"), q["bits"], len(g_idx))
    zeros = unpack(np.ascontiguousarray(f.get_tensor(module + ".qzeros").T), q["bits"], scales.shape[1]) + 1
    return scales.T[:, g_idx] * (codes - zeros.T[:, g_idx])


def reference(original, directory):
    """The model of `original` with the values of the gptq output `directory`."""
    model = AutoModelForCausalLM.from_pretrained(original, dtype=torch.float32, device_map="cpu").eval()
    own = model.state_dict()
    q = json.load(open(os.path.join(directory, "config.json")))["quantization_config"]
    with safe_open(os.path.join(directory, "model.safetensors"), "pt") as f, torch.no_grad():
        own["model.norm.weight"].copy_(f.get_tensor("model.norm.weight"))  # it is fitted
    with safe_open(os.path.join(directory, "model.safetensors"), "np") as f, torch.no_grad():
        for m in [k[:-8] for k in f.keys() if k.endswith(".qweight")]:
            w = torch.tensor(weight(f, m, q), dtype=torch.float32)
            e = re.match(r"(.*)\.(?:mlp|block_sparse_moe)\.experts\.(\d+)\.(\w+)$", m)
            if not e:
                own[m + ".weight"].copy_(w)
                continue
            experts, part = f"{e[1]}.mlp.experts.", e[3]
            if part in ("w2", "down_proj"):
                own[experts + "down_proj"][int(e[2])].copy_(w)
            else:  # gate before up
                rows = slice(0, len(w)) if part in ("w1", "gate_proj") else slice(len(w), 2 * len(w))
                own[experts + "gate_up_proj"][int(e[2])][rows].copy_(w)
    return model


def router_logits(model, ids):
    """By layer: [windows, tokens, experts]."""
    out = []
    with torch.no_grad():
        for row in ids:
            r = model(row[None], output_router_logits=True).router_logits
            out.append([x.double().reshape(len(row), -1) for x in r])
    return [torch.stack(x) for x in zip(*out)]


def changes(ours, theirs, top_k):
    """Of each window the first token that goes to other experts, in the order in which it can have had an effect: None, or (layer, token, margin, moved): how far apart the last
    expert that was taken and the first that was not are in ours, and how far the logits of this token moved."""
    out = []
    for w in range(ours[0].shape[0]):
        first = None
        for layer, (a, b) in enumerate(zip(ours, theirs)):
            best = a[w].sort(-1, descending=True).values
            differs = a[w].topk(top_k).indices.sort(-1).values.ne(b[w].topk(top_k).indices.sort(-1).values).any(-1)
            if differs.any():
                t = int(differs.nonzero()[0])
                first = (layer, t, float(best[t, top_k - 1] - best[t, top_k]), float((a[w][t] - b[w][t]).abs().max()))
                break
        out.append(first)
    return out
