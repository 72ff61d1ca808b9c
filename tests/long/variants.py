"""variants.py make FAMILIES DIR: models DIR/NAME that differ in rotary scaling, attention window, caps, activation or routing from those that make_families.py left in FAMILIES,
and windows of tokens, DIR/tokens.npy. variants.py figures DIR: transformers' perplexity of each on those windows, in f32; lines "NAME PERPLEXITY".
The configurations are written in transformers 4's keys but where a variant is about those of 5. SPDX-License-Identifier: Apache-2.0"""
import json
import math
import os
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM

LENGTH = 40  # of a window, beyond the lengths that the variants name
LONG = dict(type="longrope", short_factor=[1, 1, 1.1, 1.2, 1.3, 1.4], long_factor=[1, 2, 3, 4, 5, 6])
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
WINDOW = dict(sliding_window=9)
# NAME-same: what must not change anything.
VARIANTS = {
    "llama": {
        "linear": dict(rope_scaling=dict(type="linear", factor=3.5)),
        "dynamic": dict(max_position_embeddings=24, rope_scaling=dict(rope_type="dynamic", factor=2.5)),
        "dynamic-same": dict(rope_scaling=dict(rope_type="dynamic", factor=2.5)),
        "llama3": dict(rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)),
        "yarn": dict(max_position_embeddings=64, rope_scaling=YARN),
        "gelu-tanh": dict(hidden_act="gelu_pytorch_tanh"),
    },
    "mistral": {"window": WINDOW},
    "qwen2": {
        "yarn-untruncated": dict(max_position_embeddings=64, rope_scaling=dict(YARN, truncate=False)),
        "window-late": dict(WINDOW, use_sliding_window=True, max_window_layers=2),
        "window-same": dict(WINDOW, use_sliding_window=False),
    },
    "qwen3": {
        "yarn-factor": dict(max_position_embeddings=64, rope_scaling=dict(YARN, factor=2.0, beta_fast=16, beta_slow=2, attention_factor=1.3)),
        "window-types": dict(WINDOW, use_sliding_window=True, layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
    },
    "phi": {
        "window": WINDOW,
        "partial": dict(partial_rotary_factor=0.75),
        "long": dict(partial_rotary_factor=0.75, max_position_embeddings=96, original_max_position_embeddings=24, rope_scaling=LONG),
        "long-both": dict(partial_rotary_factor=0.75, max_position_embeddings=96, original_max_position_embeddings=24, rope_scaling=dict(LONG, original_max_position_embeddings=48)),
        "long-factor": dict(partial_rotary_factor=0.75, max_position_embeddings=96, original_max_position_embeddings=24, rope_scaling=dict(LONG, factor=7.0)),
        "short": dict(partial_rotary_factor=0.75, max_position_embeddings=512, original_max_position_embeddings=128, rope_scaling=LONG),
        "long-parameters": dict(max_position_embeddings=96, original_max_position_embeddings=24, rope_parameters=dict(LONG, rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75, original_max_position_embeddings=24)),
    },
    "gemma2": {"window": WINDOW, "no-caps": dict(attn_logit_softcapping=None, final_logit_softcapping=None)},
    "gemma3": {
        "window": WINDOW,
        "linear": dict(WINDOW, rope_scaling=dict(rope_type="linear", factor=8.0)),
        "attention-cap-same": dict(attn_logit_softcapping=1.5),
        "final-cap": dict(final_logit_softcapping=2.5),
    },
    "olmo2": {"linear": dict(rope_scaling=dict(rope_type="linear", factor=3.5))},
    "mixtral": {"window": WINDOW},
    "qwen3_moe": {"window": dict(WINDOW, use_sliding_window=True), "sum": dict(norm_topk_prob=False)},
}


def write(source, directory, own):
    config = json.load(open(os.path.join(source, "config.json")))
    config = {k: v for k, v in config.items() if k not in ("rope_parameters", "layer_types")}
    if "rope_parameters" not in own:
        config["rope_theta"] = 1e6 if config["model_type"] == "gemma3_text" else 1e4
    config.update(own)
    os.makedirs(directory)
    os.symlink(os.path.abspath(os.path.join(source, "model.safetensors")), os.path.join(directory, "model.safetensors"))
    with open(os.path.join(directory, "config.json"), "w") as f:
        json.dump(config, f)


def make(families, out):
    for family, variants in VARIANTS.items():
        for name, own in {"plain": {}, **variants}.items():
            write(os.path.join(families, family), os.path.join(out, f"{family}-{name}"), own)
    np.save(os.path.join(out, "tokens.npy"), np.load(os.path.join(families, "tokens.npy"))[:, :LENGTH])


def perplexity(directory, rows):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    nll = 0.0
    with torch.no_grad():
        for row in rows:  # one by one: dynamic frequencies go by the longest sequence
            logits = model(row[None]).logits[0, :-1].double()
            nll += torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum").item()
    return math.exp(nll / (len(rows) * (rows.shape[1] - 1)))


def figures(out):
    rows = torch.tensor(np.load(os.path.join(out, "tokens.npy")).astype(np.int64))
    for family, variants in VARIANTS.items():
        for name in ("plain", *variants):
            print(f"{family}-{name} {perplexity(os.path.join(out, f'{family}-{name}'), rows):.12g}", flush=True)


if sys.argv[1] == "make":
    make(*sys.argv[2:4])
else:
    figures(sys.argv[2])
